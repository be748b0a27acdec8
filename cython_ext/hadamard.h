/*
 * In-place fast Walsh-Hadamard transform, natural order, unnormalised, n = 2^levels values:
 * for h = 1, 2, 4 .. n/2, for each j with (j & h) == 0, x[j] and x[j + h] become their sum and
 * difference.  Blocking changes when that is done, never what is added to what: the bits are those
 * of the plain loops for any instruction set and any alignment of x.
 *
 * Each pass over memory does several levels in registers.  A leaf of up to 256 vectors stays in
 * the L1 cache: a pass for the levels inside vectors and up to four more, then one of 16 rows.
 * Above it a pass takes 8 rows, no more: rows at a large power of two stride share one L1 set of
 * 8 ways, and a ninth would evict the first before it is written.  Recursion finishes an eighth
 * before it starts the next, so a pass finds its data in the smallest cache that can hold it.
 */
#ifndef HADAMARD_H
#define HADAMARD_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined __AVX512F__
#include <immintrin.h>
#define HADAMARD_BYTES 64
#elif defined __AVX__
#define HADAMARD_BYTES 32
#else
#define HADAMARD_BYTES 16
#endif

#define HADAMARD_INLINE static inline __attribute__((always_inline))
#define HADAMARD_UNROLL _Pragma("GCC unroll 16") /* an unrolled array of vectors lives in registers */
#define HADAMARD_PASTE(a, b) a##_##b
#define HADAMARD_JOIN(a, b) HADAMARD_PASTE(a, b)
#define NAME(name) HADAMARD_JOIN(hadamard_##name, HADAMARD_SUFFIX)
#define AVX512(op) HADAMARD_JOIN(_mm512_##op, HADAMARD_PACKED)
#define HADAMARD_UNALIGNED \
    __attribute__((vector_size(HADAMARD_BYTES), aligned(sizeof(HADAMARD_REAL)), may_alias))
#define VEC NAME(vec)
#define MASK NAME(mask)
#define LANES (HADAMARD_BYTES / sizeof(HADAMARD_REAL))

/* The template, after the #else, is included once for each type. */
#define HADAMARD_REAL double
#define HADAMARD_INT int64_t
#define HADAMARD_SUFFIX f64
#define HADAMARD_PACKED pd
#include "hadamard.h"
#define HADAMARD_REAL float
#define HADAMARD_INT int32_t
#define HADAMARD_SUFFIX f32
#define HADAMARD_PACKED ps
#include "hadamard.h"
#undef NAME
#undef AVX512
#undef VEC
#undef MASK
#undef LANES

#else

typedef HADAMARD_REAL VEC HADAMARD_UNALIGNED;
typedef HADAMARD_INT MASK HADAMARD_UNALIGNED;

HADAMARD_INLINE MASK NAME(lane)(void)
{
    static const HADAMARD_INT lane[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return *(const MASK *)lane;
}

/* a * sign + b, exact in the product: sign is 1 or -1 in every lane. */
HADAMARD_INLINE VEC NAME(fma)(VEC a, VEC sign, VEC b)
{
#ifdef __AVX512F__
    return (VEC)AVX512(fmadd)(a, sign, b);
#else
    return a * sign + b;
#endif
}

/* a + b on the multiplication units, which would idle while the others do a - b. */
HADAMARD_INLINE VEC NAME(add)(VEC a, VEC b)
{
#ifdef __AVX512F__
    VEC one = (VEC){0} + 1;
    __asm__("" : "+v"(one)); /* keeps the compiler from seeing a plain sum */
    return NAME(fma)(a, one, b);
#else
    return a + b;
#endif
}

/* Lanes from .. to-1 of the vector at p: the memory of the others is not touched. */
HADAMARD_INLINE VEC NAME(load_part)(const HADAMARD_REAL *p, size_t from, size_t to)
{
#ifdef __AVX512F__
    return (VEC)AVX512(maskz_loadu)((1u << to) - (1u << from), p);
#else
    VEC v = {0};
    memcpy((HADAMARD_REAL *)&v + from, p + from, (to - from) * sizeof *p);
    return v;
#endif
}

HADAMARD_INLINE void NAME(store_part)(HADAMARD_REAL *p, size_t from, size_t to, VEC v)
{
#ifdef __AVX512F__
    AVX512(mask_storeu)(p, (1u << to) - (1u << from), v);
#else
    memcpy(p + from, (HADAMARD_REAL *)&v + from, (to - from) * sizeof *p);
#endif
}

HADAMARD_INLINE VEC NAME(blend)(MASK mask, VEC yes, VEC no)
{
    return (VEC)((mask & (MASK)yes) | (~mask & (MASK)no));
}

/* The level of stride h < LANES: the upper of a pair becomes -itself + the other. */
HADAMARD_INLINE VEC NAME(within)(VEC v, HADAMARD_INT h)
{
    const MASK lane = NAME(lane)(), upper = (lane & h) != 0; /* -1 where true */
    return NAME(fma)(v, __builtin_convertvector(1 + 2 * upper, VEC), __builtin_shuffle(v, lane ^ h));
}

/* The levels that pair whole vectors.  The sums of the last are faster as plain sums (measured). */
HADAMARD_INLINE void NAME(across)(VEC *v, const unsigned rows)
{
    HADAMARD_UNROLL for (unsigned s = 1; s < rows; s *= 2)
    	HADAMARD_UNROLL for (unsigned i = 0; i < rows; i++)
    		if (!(i & s)) {
    			const VEC a = v[i], b = v[i + s], difference = a - b;
    			v[i] = 2 * s < rows ? NAME(add)(a, b) : (VEC)(a + b);
    			v[i + s] = difference;
    		}
}

/* One vector of each of so many rows, h apart: with the levels inside vectors first, if lowest. */
HADAMARD_INLINE void NAME(butterfly)(HADAMARD_REAL *x, size_t h, const unsigned rows, const int lowest)
{
    VEC v[16];
    HADAMARD_UNROLL for (unsigned i = 0; i < rows; i++) {
    	v[i] = *(const VEC *)(x + i * h);
    	if (lowest)
    		HADAMARD_UNROLL for (unsigned s = 1; s < LANES; s *= 2)
    			v[i] = NAME(within)(v[i], s);
    }
    NAME(across)(v, rows);
    HADAMARD_UNROLL for (unsigned i = 0; i < rows; i++)
    	*(VEC *)(x + i * h) = v[i];
}

/*
 * The first `skew` columns and the last LANES - skew, when the others are read as aligned vectors.
 * A seam, an aligned vector too, holds the end of one row and the start of the next: two seams make
 * one vector of columns.  (Unaligned vectors would cost a hundred cycles at each page boundary.)
 */
HADAMARD_INLINE void NAME(edges)(HADAMARD_REAL *x, size_t h, const unsigned rows, size_t skew)
{
    const size_t turn = LANES - skew;
    const MASK start = NAME(lane)() >= (HADAMARD_INT)turn;
    HADAMARD_REAL *const seam = x - turn;
    VEC v[17];
    v[0] = NAME(load_part)(seam, turn, LANES);
    v[rows] = NAME(load_part)(seam + rows * h, 0, turn);
    HADAMARD_UNROLL for (unsigned i = 1; i < rows; i++)
    	v[i] = *(const VEC *)(seam + i * h);
    HADAMARD_UNROLL for (unsigned i = 0; i < rows; i++)
    	v[i] = NAME(blend)(start, v[i], v[i + 1]);
    NAME(across)(v, rows);
    NAME(store_part)(seam, turn, LANES, v[0]);
    NAME(store_part)(seam + rows * h, 0, turn, v[rows - 1]);
    HADAMARD_UNROLL for (unsigned i = 1; i < rows; i++)
    	*(VEC *)(seam + i * h) = NAME(blend)(start, v[i], v[i - 1]);
}

/* The levels h, 2h .. rows/2 * h of rows * h values. */
HADAMARD_INLINE void NAME(columns)(HADAMARD_REAL *x, size_t h, const unsigned rows)
{
    const size_t skew = -(uintptr_t)x % HADAMARD_BYTES / sizeof *x;
    for (size_t j = skew; j + LANES <= h; j += LANES)
    	NAME(butterfly)(x + j, h, rows, 0);
    if (skew)
    	NAME(edges)(x, h, rows, skew);
}

/* The lowest levels, in blocks of so many consecutive vectors. */
HADAMARD_INLINE void NAME(blocks)(HADAMARD_REAL *x, size_t n, const unsigned vectors)
{
    for (size_t i = 0; i < n; i += vectors * LANES)
    	NAME(butterfly)(x + i, LANES, vectors, 1);
}

static void NAME(recurse)(HADAMARD_REAL *x, size_t n)
{
    const size_t vectors = n / LANES;
    if (vectors > 256) {
    	for (size_t i = 0; i < n; i += n / 8)
    		NAME(recurse)(x + i, n / 8);
    	NAME(columns)(x, n / 8, 8);
    	return;
    }
    switch (vectors > 16 ? vectors / 16 : vectors) {
    case 1: NAME(blocks)(x, n, 1); break;
    case 2: NAME(blocks)(x, n, 2); break;
    case 4: NAME(blocks)(x, n, 4); break;
    case 8: NAME(blocks)(x, n, 8); break;
    case 16: NAME(blocks)(x, n, 16); break;
    default: /* less than a vector */
    	for (size_t h = 1; h < n; h *= 2)
    		for (size_t j = 0; j < n; j++)
    			if (!(j & h)) {
    				const HADAMARD_REAL a = x[j], b = x[j + h];
    				x[j] = a + b;
    				x[j + h] = a - b;
    			}
    }
    if (vectors > 16)
    	NAME(columns)(x, n / 16, 16);
}

static inline void HADAMARD_JOIN(hadamard, HADAMARD_SUFFIX)(HADAMARD_REAL *x, unsigned levels)
{
    NAME(recurse)(x, (size_t)1 << levels);
}

#undef HADAMARD_REAL
#undef HADAMARD_INT
#undef HADAMARD_SUFFIX
#undef HADAMARD_PACKED
#endif
