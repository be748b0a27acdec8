/* Vectors as wide as the processor's registers. Wider ones would be taken apart by the compiler, comparisons into single
   values. Nothing that is computed depends on the width: sums have a fixed number of parts. */
#ifndef VECTORS_H
#define VECTORS_H
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__)
#define VECTOR 64
#elif defined(__AVX2__)
#define VECTOR 32
#else
#define VECTOR 16
#endif
#define INLINE static inline __attribute__((always_inline))

typedef double doubles __attribute__((vector_size(VECTOR), aligned(8), may_alias));
typedef int64_t longs __attribute__((vector_size(VECTOR), aligned(8), may_alias));
typedef uint64_t unsigned_longs __attribute__((vector_size(VECTOR), aligned(8), may_alias));
typedef float float_lanes __attribute__((vector_size(VECTOR), aligned(4), may_alias));
enum { DOUBLES = VECTOR / 8, FLOAT_LANES = VECTOR / 4 };

/* Bit l: 1 if a >= b in lane l. */
INLINE uint32_t doubles_at_least(doubles a, doubles b)
{
#if VECTOR == 64
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GE_OQ);
#elif VECTOR == 32
    return (uint32_t)_mm256_movemask_pd((__m256d)(a >= b));
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_pd((__m128d)(a >= b));
#else
    uint32_t bits = 0;
    for (int l = 0; l < DOUBLES; l++)
        bits |= (uint32_t)(a[l] >= b[l]) << l;
    return bits;
#endif
}

INLINE uint32_t floats_at_least(float_lanes a, float_lanes b)
{
#if VECTOR == 64
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ);
#elif VECTOR == 32
    return (uint32_t)_mm256_movemask_ps((__m256)(a >= b));
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps((__m128)(a >= b));
#else
    uint32_t bits = 0;
    for (int l = 0; l < FLOAT_LANES; l++)
        bits |= (uint32_t)(a[l] >= b[l]) << l;
    return bits;
#endif
}

/* Of two doubles, seen as integers, the larger: NaN is larger than infinity, and that than numbers, if none is negative. */
INLINE longs larger(longs a, longs b)
{
#if VECTOR == 64
    return (longs)_mm512_max_epi64((__m512i)a, (__m512i)b);
#else
    const longs above = a > b;
    return (a & above) | (b & ~above);
#endif
}

/* The lowest byte of each lane. */
INLINE void store_low_bytes(longs v, uint8_t *out)
{
#if VECTOR == 64
    _mm_storel_epi64((__m128i *)out, _mm512_cvtepi64_epi8((__m512i)v));
#else
    for (int l = 0; l < DOUBLES; l++)
        out[l] = (uint8_t)v[l];
#endif
}

/* In each lane ``yes`` where mask is -1, ``no`` where it is 0. */
INLINE doubles doubles_where(longs mask, doubles yes, doubles no)
{
#if VECTOR == 32
    return (doubles)_mm256_blendv_pd((__m256d)no, (__m256d)yes, (__m256d)mask);
#else
    return (doubles)(((longs)yes & mask) | ((longs)no & ~mask));
#endif
}
#endif
