/* 64 bytes in vector registers, and planes of their bits: a word with one bit of each byte. */
#ifndef PLANES_H
#define PLANES_H
#include "vectors.h"

typedef uint8_t byte_lanes __attribute__((vector_size(VECTOR), aligned(1), may_alias));
typedef uint16_t short_lanes __attribute__((vector_size(VECTOR), aligned(1), may_alias));
enum { PARTS = 64 / VECTOR };

/* The highest bit of each byte. */
INLINE uint64_t top_bits(byte_lanes v)
{
#if VECTOR == 64
    return _mm512_movepi8_mask((__m512i)v);
#elif VECTOR == 32
    return (uint32_t)_mm256_movemask_epi8((__m256i)v);
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_epi8((__m128i)v);
#else
    uint64_t bits = 0;
    for (int half = 0; half < 2; half++) {
        uint64_t w;
        memcpy(&w, (const char *)&v + 8 * half, 8);
        bits |= (w >> 7 & 0x0101010101010101ULL) * 0x0102040810204080ULL >> 56 << 8 * half;
    }
    return bits;
#endif
}

/* Bit ``bit`` of each of 64 bytes. */
INLINE uint64_t bit_plane(const uint8_t *bytes, int bit)
{
    uint64_t plane = 0;
    for (int p = 0; p < PARTS; p++) /* what shifts bring into a byte from its neighbour stays below its highest bit */
        plane |= top_bits((byte_lanes)(*(const short_lanes *)(bytes + VECTOR * p) << (7 - bit))) << VECTOR * p;
    return plane;
}

/* Where bytes, none of which is over 127, are above ``least`` <= 127. */
INLINE uint64_t plane_above(const uint8_t *bytes, int least)
{
    uint64_t plane = 0;
    for (int p = 0; p < PARTS; p++)
        plane |= top_bits(*(const byte_lanes *)(bytes + VECTOR * p) + (uint8_t)(127 - least)) << VECTOR * p;
    return plane;
}

/* bytes += what, where the plane has ones. */
INLINE void add_where(uint8_t *bytes, uint64_t plane, uint8_t what)
{
    for (int p = 0; p < PARTS; p++) {
        byte_lanes *const v = (byte_lanes *)(bytes + VECTOR * p);
#if VECTOR == 64
        *v += (byte_lanes)_mm512_maskz_set1_epi8(plane, (char)what);
#elif defined(__SSSE3__)
        const __m128i one_bit = _mm_set1_epi64x((long long)0x8040201008040201ULL);
        const __m128i low = _mm_set_epi64x(0x0101010101010101LL, 0);
        const __m128i high = _mm_add_epi8(low, _mm_set1_epi8(2));
#if VECTOR == 32
        const __m256i all = _mm256_shuffle_epi8(_mm256_set1_epi32((int)(plane >> 32 * p)), _mm256_set_m128i(high, low));
        const __m256i ones = _mm256_set_m128i(one_bit, one_bit);
        *v += (byte_lanes)_mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(all, ones), ones),
                                           _mm256_set1_epi8((char)what));
#else
        const __m128i all = _mm_shuffle_epi8(_mm_set1_epi32((int)(plane >> 16 * p)), low);
        *v += (byte_lanes)_mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(all, one_bit), one_bit),
                                        _mm_set1_epi8((char)what));
        (void)high;
#endif
#else
        for (int half = 0; half < 2; half++) {
            uint64_t w = (plane >> (16 * p + 8 * half) & 255) * 0x0101010101010101ULL & 0x8040201008040201ULL;
            w = ((w & 0x7F7F7F7F7F7F7F7FULL) + 0x7F7F7F7F7F7F7F7FULL) | w; /* the highest bit, if there is any */
            w = (w >> 7 & 0x0101010101010101ULL) * what;
            byte_lanes more = {0};
            memcpy((char *)&more + 8 * half, &w, 8);
            *v += more;
        }
#endif
    }
}

/* The bits of a word where the mask has ones, side by side; without BMI2 one after the other. */
INLINE uint64_t gather_bits(uint64_t word, uint64_t mask)
{
#ifdef __BMI2__
    return _pext_u64(word, mask);
#else
    uint64_t gathered = 0;
    if (mask == UINT64_MAX)
        return word;
    for (int count = 0; mask; mask &= mask - 1)
        gathered |= (word >> __builtin_ctzll(mask) & 1) << count++;
    return gathered;
#endif
}

/* The reverse: the lowest bits go where the mask has ones. */
INLINE uint64_t scatter_bits(uint64_t word, uint64_t mask)
{
#ifdef __BMI2__
    return _pdep_u64(word, mask);
#else
    uint64_t scattered = 0;
    if (mask == UINT64_MAX)
        return word;
    for (; mask; mask &= mask - 1, word >>= 1)
        scattered |= (mask & -mask) & -(word & 1);
    return scattered;
#endif
}
#endif
