/* Bits spread over the lanes of vectors. Included once for each REAL; NAME(x) makes a name of its own. */

/* Lane l: all ones if bit ``first`` + l of the word is set. */
INLINE NAME(mask) NAME(bit_mask)(uint64_t word, int first)
{
    static const WORD lane[16] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    const NAME(mask) bit = *(const NAME(mask) *)lane;
    const NAME(mask) all = (NAME(mask)){0} + (WORD)(word >> first);
    return (all & bit) == bit;
}

/* The sign bit in the lanes whose bit of the word is not set. */
INLINE NAME(mask) NAME(negative)(uint64_t word, int first)
{
    const NAME(mask) sign = (NAME(mask)){0} + (WORD)((uint64_t)1 << (8 * sizeof(WORD) - 1));
    return ~NAME(bit_mask)(word, first) & sign;
}

/* Eight bytes, or what is left of them, as a word of bits. */
#ifndef BITS_H
#define BITS_H
static inline uint64_t load_word(const uint8_t *in, int64_t bits)
{
    uint64_t word = 0;
    memcpy(&word, in, bits < 64 ? (size_t)(bits + 7) / 8 : 8);
    return word;
}

/* The reverse; what is beyond ``bits`` is zero. */
static inline void store_word(uint64_t word, uint8_t *out, int64_t bits)
{
    if (bits < 64)
        word &= ((uint64_t)1 << bits) - 1;
    memcpy(out, &word, bits < 64 ? (size_t)(bits + 7) / 8 : 8);
}

/* Negative if and only if |x| >= BEYOND = 2^1022 or NaN: added to the bits of |x|, this makes them overflow. */
#define BEYOND_ALL INT64_C(0x0030000000000000)

static inline int64_t beyond(double x)
{
    int64_t bits;
    memcpy(&bits, &x, 8);
    return (int64_t)((uint64_t)(bits & INT64_MAX) + (uint64_t)BEYOND_ALL);
}
#endif
