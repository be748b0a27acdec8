#ifndef HADAMARD_REAL
#ifndef HADAMARD_H
#define HADAMARD_H
#include <stddef.h>
#include <stdint.h>

#if defined __AVX512F__
#include <immintrin.h>
#define HADAMARD_BYTES 64
#elif defined __AVX__
#define HADAMARD_BYTES 32
#else
#define HADAMARD_BYTES 16
#endif

#define HADAMARD_INLINE static inline __attribute__((always_inline))
#define HADAMARD_PASTE(a, b) hadamard_##a##_##b
#define HADAMARD_JOIN(a, b) HADAMARD_PASTE(a, b)
#define HADAMARD_ENTRY_(b) hadamard_##b
#define HADAMARD_ENTRY(b) HADAMARD_ENTRY_(b)

#define HADAMARD_REAL double
#define HADAMARD_INT int64_t
#define HADAMARD_TYPE f64
#define HADAMARD_FMA _mm512_fmadd_pd
#include "hadamard.h"

#define HADAMARD_REAL float
#define HADAMARD_INT int32_t
#define HADAMARD_TYPE f32
#define HADAMARD_FMA _mm512_fmadd_ps
#include "hadamard.h"
#endif
#else

#define NAME(x) HADAMARD_JOIN(x, HADAMARD_TYPE)
#define REAL HADAMARD_REAL
#define INT HADAMARD_INT
#define VEC NAME(vec)
#define MASK NAME(mask)
#define LANES (HADAMARD_BYTES / sizeof(REAL))

typedef REAL VEC __attribute__((vector_size(HADAMARD_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INT MASK __attribute__((vector_size(HADAMARD_BYTES), aligned(sizeof(REAL)), may_alias));

HADAMARD_INLINE MASK NAME(lane)(void)
{
	static const INT lane[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	return *(const MASK *)lane;
}

HADAMARD_INLINE VEC NAME(fma)(VEC a, VEC sign, VEC b)
{
#ifdef __AVX512F__
	return (VEC)HADAMARD_FMA(a, sign, b);
#else
	return a * sign + b;
#endif
}

HADAMARD_INLINE VEC NAME(add)(VEC a, VEC b)
{
#ifdef __AVX512F__
	VEC one = (VEC){0} + 1;
	__asm__("" : "+v"(one));
	return (VEC)HADAMARD_FMA(a, one, b);
#else
	return a + b;
#endif
}

HADAMARD_INLINE VEC NAME(within)(VEC v, INT h)
{
	const MASK lane = NAME(lane)();
	return NAME(fma)(v, __builtin_convertvector(1 + 2 * ((lane & h) != 0), VEC), __builtin_shuffle(v, lane ^ h));
}

HADAMARD_INLINE void NAME(butterfly)(REAL *x, size_t h, const unsigned rows, const int lowest, const MASK *keep)
{
	VEC v[16];
#pragma GCC unroll 16
	for (unsigned i = 0; i < rows; i++) {
		v[i] = *(const VEC *)(x + i * h);
		if (lowest)
#pragma GCC unroll 4
			for (unsigned s = 1; s < LANES; s *= 2)
				v[i] = NAME(within)(v[i], s);
	}
#pragma GCC unroll 4
	for (unsigned s = 1; s < rows; s *= 2)
#pragma GCC unroll 16
		for (unsigned i = 0; i < rows; i++)
			if (!(i & s)) {
				VEC a = v[i], b = v[i + s];
				v[i] = lowest ? (VEC)(a + b) : NAME(add)(a, b);
				v[i + s] = a - b;
			}
#pragma GCC unroll 16
	for (unsigned i = 0; i < rows; i++) {
		MASK *to = (MASK *)(x + i * h);
		*to = keep ? (MASK)((*to & *keep) | ((MASK)v[i] & ~*keep)) : (MASK)v[i];
	}
}

HADAMARD_INLINE void NAME(columns)(REAL *x, size_t h, const unsigned rows)
{
	const size_t skew = -(uintptr_t)x % HADAMARD_BYTES / sizeof(REAL);
	if (skew) {
		const MASK right = NAME(lane)() >= (INT)skew, left = ~right;
		NAME(butterfly)(x, h, rows, 0, &right);
		NAME(butterfly)(x + h - LANES, h, rows, 0, &left);
	}
	for (size_t j = skew; j + LANES <= h; j += LANES)
		NAME(butterfly)(x + j, h, rows, 0, NULL);
}

HADAMARD_INLINE void NAME(blocks)(REAL *x, size_t n, const unsigned rows)
{
	for (size_t i = 0; i < n; i += rows * LANES)
		NAME(butterfly)(x + i, LANES, rows, 1, NULL);
}

static void NAME(leaf)(REAL *x, size_t n)
{
	const size_t vectors = n / LANES;
	switch (vectors > 16 ? vectors / 16 : vectors) {
	case 1: NAME(blocks)(x, n, 1); break;
	case 2: NAME(blocks)(x, n, 2); break;
	case 4: NAME(blocks)(x, n, 4); break;
	case 8: NAME(blocks)(x, n, 8); break;
	case 16: NAME(blocks)(x, n, 16); break;
	default:
		for (size_t h = 1; h < n; h *= 2)
			for (size_t j = 0; j < n; j++)
				if (!(j & h)) {
					const REAL a = x[j], b = x[j + h];
					x[j] = a + b;
					x[j + h] = a - b;
				}
	}
	if (vectors > 16)
		NAME(columns)(x, n / 16, 16);
}

static void NAME(recurse)(REAL *x, size_t n)
{
	if (n <= 256 * LANES) {
		NAME(leaf)(x, n);
		return;
	}
	for (size_t i = 0; i < n; i += n / 8)
		NAME(recurse)(x + i, n / 8);
	NAME(columns)(x, n / 8, 8);
}

static void HADAMARD_ENTRY(HADAMARD_TYPE)(REAL *x, unsigned levels) { NAME(recurse)(x, (size_t)1 << levels); }

#undef NAME
#undef REAL
#undef INT
#undef VEC
#undef MASK
#undef LANES
#undef HADAMARD_REAL
#undef HADAMARD_INT
#undef HADAMARD_TYPE
#undef HADAMARD_FMA
#endif
