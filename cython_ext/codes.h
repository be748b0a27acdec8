/* Small integers as a stream of bits, and the random words that round to them.

   The stream is little-endian: bit t of code j is bit j * bits + t of the message, and bit s of a message is bit s % 8
   of its byte s / 8. Codes are made and read in tiles that stay in the first-level cache. */
#ifndef CODES_H
#define CODES_H
#include <stdint.h>
#include <string.h>

#define TILE 1024 /* codes; a multiple of 8, so that every tile begins at a whole byte */

/* Word j of the stream with key (low, high): a bijective hash of the counter (multiply-xorshift, constants of the hash
   "lowbias32" by C. Wellons). The upper half of the key enters between the rounds, so that streams with different
   upper halves are not shifted copies of each other. Keys are hashes themselves (Philox, block_key): keys that differ
   in a single upper bit would give streams that are correlated. Ours; tests/test_random_words.py has the statistics. */
#define STRIDE 0x9E3779B1u

static inline uint32_t mixed(uint32_t h, uint32_t upper_key)
{
    h ^= h >> 16;
    h *= 0x7FEB352Du;
    h ^= upper_key;
    h ^= h >> 15;
    h *= 0x846CA68Bu;
    return h ^ h >> 16;
}

static inline uint32_t word(uint32_t counter, uint64_t key)
{
    return mixed(counter * STRIDE + (uint32_t)key, (uint32_t)(key >> 32));
}

/* Words first and first + 1 of a stream as one of 64 bits. */
static inline uint64_t two_words(uint32_t first, uint64_t key)
{
    return word(first, key) | (uint64_t)word(first + 1, key) << 32;
}

/* Words first, first + 1, ... of a stream; zeros without a key. */
static inline void random_words(uint32_t *words, uint32_t first, const uint64_t *key, int size)
{
    if (!key) {
        memset(words, 0, (size_t)size * sizeof(uint32_t));
        return;
    }
    const uint32_t upper = (uint32_t)(*key >> 32);
    uint32_t h = first * STRIDE + (uint32_t)*key;
    for (int j = 0; j < size; j++, h += STRIDE)
        words[j] = mixed(h, upper);
}

/* Half a word is enough for a few levels: the stream as numbers of 16 bits, the lower half of a word first. */
typedef int16_t half_word __attribute__((may_alias));

/* random * unit + y, unit a power of two: the product is exact, so that both ways round alike. */
static inline float add_exact(int16_t random, float unit, float y)
{
#ifdef __FMA__
    return __builtin_fmaf((float)random, unit, y);
#else
    return (float)random * unit + y;
#endif
}

/* A word as a number in [-1/2, 1/2), the word 0 as 0: signed, because that conversion is in every processor. */
static inline double centred(uint32_t random)
{
    return 0x1p-32 * (double)(int32_t)random;
}

/* The key of block b of a message (the finaliser of splitmix64 by Steele, Lea, Flood). */
static inline uint64_t block_key(uint64_t key, uint64_t block)
{
    uint64_t z = key + (block + 1) * 0x9E3779B97F4A7C15ULL;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return z ^ z >> 31;
}

/* Bytes of ``size`` codes. */
static inline int64_t packed_size(int64_t size, int bits)
{
    return (size * bits + 7) / 8;
}

/* Groups of 8 codes of one byte each -> ``bits`` bytes each, by merging neighbours three times. The compiler
   vectorises the first loop; the second stores whole groups of known size. */
static inline void pack_groups(const uint8_t *codes, uint8_t *out, int groups, const int bits)
{
    uint64_t merged[TILE / 8];
    for (int i = 0; i < groups; i++) {
        uint64_t w;
        memcpy(&w, codes + 8 * i, 8);
        w = (w & 0x00FF00FF00FF00FFULL) | (w & 0xFF00FF00FF00FF00ULL) >> (8 - bits);
        w = (w & 0x0000FFFF0000FFFFULL) | (w & 0xFFFF0000FFFF0000ULL) >> 2 * (8 - bits);
        merged[i] = (w & 0x00000000FFFFFFFFULL) | (w & 0xFFFFFFFF00000000ULL) >> 4 * (8 - bits);
    }
    for (int i = 0; i < groups; i++)
        memcpy(out + bits * i, &merged[i], (size_t)bits);
}

/* The reverse of pack_groups. */
static inline void unpack_groups(const uint8_t *in, uint8_t *codes, int groups, const int bits)
{
    const uint64_t mask = ((1u << bits) - 1) * 0x0101010101010101ULL;
    uint64_t merged[TILE / 8];
    for (int i = 0; i < groups; i++) {
        merged[i] = 0;
        memcpy(&merged[i], in + bits * i, (size_t)bits);
    }
    for (int i = 0; i < groups; i++) {
        uint64_t w = merged[i];
        w = (w & 0x00000000FFFFFFFFULL) | (w << 4 * (8 - bits) & 0xFFFFFFFF00000000ULL);
        w = (w & 0x0000FFFF0000FFFFULL) | (w << 2 * (8 - bits) & 0xFFFF0000FFFF0000ULL);
        w = ((w & 0x00FF00FF00FF00FFULL) | (w << (8 - bits) & 0xFF00FF00FF00FF00ULL)) & mask;
        memcpy(codes + 8 * i, &w, 8);
    }
}

#define EACH_WIDTH(CALL) \
    switch (bits) { \
    case 1: CALL(1); break; \
    case 2: CALL(2); break; \
    case 3: CALL(3); break; \
    case 4: CALL(4); break; \
    case 5: CALL(5); break; \
    case 6: CALL(6); break; \
    case 7: CALL(7); break; \
    default: CALL(8); }

/* At most TILE codes of at most 8 bits. ``codes`` has room for the next multiple of 8 and is overwritten there. */
static inline void pack_bytes(uint8_t *codes, uint8_t *out, int size, int bits)
{
    const int groups = size / 8, rest = size % 8;
#define CALL(b) pack_groups(codes, out, groups, b)
    EACH_WIDTH(CALL)
#undef CALL
    if (rest) {
        uint8_t last[8];
        memset(codes + size, 0, (size_t)(8 - rest));
#define CALL(b) pack_groups(codes + 8 * groups, last, 1, b)
        EACH_WIDTH(CALL)
#undef CALL
        memcpy(out + bits * groups, last, (size_t)packed_size(rest, bits));
    }
}

/* The reverse: ``codes`` has room for the next multiple of 8. */
static inline void unpack_bytes(const uint8_t *in, uint8_t *codes, int size, int bits)
{
    const int groups = size / 8, rest = size % 8;
#define CALL(b) unpack_groups(in, codes, groups, b)
    EACH_WIDTH(CALL)
#undef CALL
    if (rest) {
        uint8_t last[8] = {0};
        memcpy(last, in + bits * groups, (size_t)packed_size(rest, bits));
#define CALL(b) unpack_groups(last, codes + 8 * groups, 1, b)
        EACH_WIDTH(CALL)
#undef CALL
    }
}

/* Codes of 9 to 16 bits, ``groups`` of 8, each of which are ``bits`` bytes. */
static inline void pack_wide_groups(const uint32_t *codes, uint8_t *out, int64_t groups, int bits)
{
    for (int64_t i = 0; i < groups; i++, codes += 8, out += bits) {
        uint64_t half[2] = {0, 0};
        for (int j = 0; j < 4; j++) {
            half[0] |= (uint64_t)codes[j] << j * bits;
            half[1] |= (uint64_t)codes[j + 4] << j * bits;
        }
        if (bits < 16) { /* the second half begins within the first word */
            half[0] |= half[1] << 4 * bits;
            half[1] >>= 64 - 4 * bits;
        }
        memcpy(out, half, (size_t)bits);
    }
}

static inline void unpack_wide_groups(const uint8_t *in, uint32_t *codes, int64_t groups, int bits)
{
    const uint32_t mask = (1u << bits) - 1;
    for (int64_t i = 0; i < groups; i++, codes += 8, in += bits) {
        uint64_t half[2] = {0, 0};
        memcpy(half, in, (size_t)bits);
        if (bits < 16)
            half[1] = half[1] << (64 - 4 * bits) | half[0] >> 4 * bits;
        for (int j = 0; j < 4; j++) {
            codes[j] = (uint32_t)(half[0] >> j * bits) & mask;
            codes[j + 4] = (uint32_t)(half[1] >> j * bits) & mask;
        }
    }
}

/* Codes of up to 32 bits; those that are not in groups one after the other. */
static inline void pack_words(const uint32_t *codes, uint8_t *out, int64_t size, int bits)
{
    uint64_t held = 0;
    int count = 0;
    const int64_t grouped = bits > 8 && bits <= 16 ? size / 8 : 0;
    pack_wide_groups(codes, out, grouped, bits);
    out += grouped * bits;
    for (int64_t j = 8 * grouped; j < size; j++) {
        held |= (uint64_t)codes[j] << count;
        for (count += bits; count >= 8; count -= 8, held >>= 8)
            *out++ = (uint8_t)held;
    }
    if (count)
        *out = (uint8_t)held;
}

static inline void unpack_words(const uint8_t *in, uint32_t *codes, int64_t size, int bits)
{
    const uint64_t mask = (1ULL << bits) - 1;
    uint64_t held = 0;
    int count = 0;
    const int64_t grouped = bits > 8 && bits <= 16 ? size / 8 : 0;
    unpack_wide_groups(in, codes, grouped, bits);
    in += grouped * bits;
    for (int64_t j = 8 * grouped; j < size; j++) {
        for (; count < bits; count += 8)
            held |= (uint64_t)*in++ << count;
        codes[j] = (uint32_t)(held & mask);
        held >>= bits;
        count -= bits;
    }
}

/* Scales travel as the upper half of a float64, rounded up: its range, 20 bits of mantissa, never below the scale. */
static inline double send_scale(double scale, uint8_t *out)
{
    uint64_t bits;
    memcpy(&bits, &scale, 8);
    bits = (bits + 0xFFFFFFFFULL) >> 32;
    if (bits > 0x7FEFFFFFULL)
        bits = 0x7FEFFFFFULL;
    const uint32_t half = (uint32_t)bits;
    memcpy(out, &half, 4);
    bits <<= 32;
    memcpy(&scale, &bits, 8);
    return scale;
}

static inline double read_scale(const uint8_t *in)
{
    uint32_t half;
    double scale;
    memcpy(&half, in, 4);
    const uint64_t bits = (uint64_t)half << 32;
    memcpy(&scale, &bits, 8);
    return scale;
}
#endif
