/* Small integers as a stream of bits.

   The stream is little-endian: bit t of code j is bit j * bits + t of the message, and bit s of a message is bit s % 8
   of its byte s / 8. Codes are made and read in tiles that stay in the first-level cache. */
#ifndef CODES_H
#define CODES_H
#include <stdint.h>
#include <string.h>

#define TILE 1024 /* codes; a multiple of 8, so that every tile begins at a whole byte */

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

/* At most TILE codes of at most 8 bits. ``codes`` reaches to the next multiple of 8 and is overwritten there. */
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

/* The reverse of pack_bytes: ``codes`` reaches to the next multiple of 8. */
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
    uint64_t waiting = 0;
    int count = 0;
    const int64_t grouped = bits > 8 && bits <= 16 ? size / 8 : 0;
    pack_wide_groups(codes, out, grouped, bits);
    out += grouped * bits;
    for (int64_t j = 8 * grouped; j < size; j++) {
        waiting |= (uint64_t)codes[j] << count;
        for (count += bits; count >= 8; count -= 8, waiting >>= 8)
            *out++ = (uint8_t)waiting;
    }
    if (count)
        *out = (uint8_t)waiting;
}

static inline void unpack_words(const uint8_t *in, uint32_t *codes, int64_t size, int bits)
{
    const uint64_t mask = (1ULL << bits) - 1;
    uint64_t waiting = 0;
    int count = 0;
    const int64_t grouped = bits > 8 && bits <= 16 ? size / 8 : 0;
    unpack_wide_groups(in, codes, grouped, bits);
    in += grouped * bits;
    for (int64_t j = 8 * grouped; j < size; j++) {
        for (; count < bits; count += 8)
            waiting |= (uint64_t)*in++ << count;
        codes[j] = (uint32_t)(waiting & mask);
        waiting >>= bits;
        count -= bits;
    }
}
#endif
