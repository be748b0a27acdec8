/* One bit a coordinate: words of 64 bits, and bits spread over the lanes of vectors. */
#ifndef BITS_H
#define BITS_H
#include <string.h>
#include "real.h"

/* Lane l: all ones if bit ``first`` + l of the word is set. */
INLINE real_masks bit_mask(uint64_t word, int first)
{
    static const real_word lane[16] = {1,   2,   4,    8,    16,   32,   64,    128,
                                       256, 512, 1024, 2048, 4096, 8192, 16384, 32768};
    const real_masks bit = *(const real_masks *)lane;
    const real_masks all = (real_masks){0} + (real_word)(word >> first);
    return (all & bit) == bit;
}

/* The sign bit in the lanes whose bit of the word is not set. */
INLINE real_masks negative(uint64_t word, int first)
{
    const real_masks sign = (real_masks){0} + (real_word)((uint64_t)1 << (8 * sizeof(real_word) - 1));
    return ~bit_mask(word, first) & sign;
}

/* Eight bytes, or what is left of them, as a word of bits. */
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
#endif
