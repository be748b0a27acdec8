/*
 * In-place fast Walsh-Hadamard transform, natural order, unnormalised, n = 2^log2_size values:
 * for h = 1, 2, 4 .. n/2, for each j with (j & h) == 0, x[j] and x[j + h] become their sum and
 * difference: log2_size stages.  Blocking changes when that is done, never what is added to what: the bits are those
 * of the plain loops for any instruction set and any alignment of x.
 *
 * Each pass over memory does several stages in registers.  A leaf of up to 256 vectors stays in
 * the L1 cache: a pass for the stages inside vectors and up to four more, then one of 16 rows.
 * Above it a pass takes 8 rows, no more: rows at a large power of two stride share one L1 set of
 * 8 ways, and a ninth would evict the first before it is written.  Recursion finishes an eighth
 * before it starts the next, so a pass finds its data in the smallest cache that can hold it.
 */
#ifndef HADAMARD_H
#define HADAMARD_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "real.h"

#define HADAMARD_UNROLL _Pragma("GCC unroll 16") /* an unrolled array of vectors lives in registers */
#if REAL_BITS == 64
#define AVX512(op) _mm512_##op##_pd
#else
#define AVX512(op) _mm512_##op##_ps
#endif

INLINE real_masks lanes_in_order(void)
{
    static const real_word lane[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return *(const real_masks *)lane;
}

/* a * sign + b, exact in the product: sign is 1 or -1 in every lane. */
INLINE reals fma_by_sign(reals a, reals sign, reals b)
{
#if VECTOR == 64
    return (reals)AVX512(fmadd)(a, sign, b);
#else
    return a * sign + b;
#endif
}

/* a + b on the multiplication units, which would idle while the others do a - b. */
INLINE reals add_by_fma(reals a, reals b)
{
#if VECTOR == 64
    reals one = (reals){0} + 1;
    __asm__("" : "+v"(one)); /* keeps the compiler from seeing a plain sum */
    return fma_by_sign(a, one, b);
#else
    return a + b;
#endif
}

/* Lanes from .. to-1 of the vector at p: the memory of the others is not touched. */
INLINE reals load_part(const real *p, size_t from, size_t to)
{
#if VECTOR == 64
    return (reals)AVX512(maskz_loadu)((1u << to) - (1u << from), p);
#else
    reals v = {0};
    memcpy((real *)&v + from, p + from, (to - from) * sizeof *p);
    return v;
#endif
}

INLINE void store_part(real *p, size_t from, size_t to, reals v)
{
#if VECTOR == 64
    AVX512(mask_storeu)(p, (1u << to) - (1u << from), v);
#else
    memcpy(p + from, (real *)&v + from, (to - from) * sizeof *p);
#endif
}

INLINE reals blended(real_masks mask, reals yes, reals no)
{
    return (reals)((mask & (real_masks)yes) | (~mask & (real_masks)no));
}

/* The stage of stride h < REALS: the upper of a pair becomes -itself + the other. */
INLINE reals stage_within(reals v, real_word h)
{
    const real_masks lane = lanes_in_order(), upper = (lane & h) != 0; /* -1 where true */
    return fma_by_sign(v, __builtin_convertvector(1 + 2 * upper, reals), permuted(v, lane ^ h));
}

/* The stages that pair whole vectors.  The sums of the last are faster as plain sums (measured). */
INLINE void stages_across(reals *v, const unsigned rows)
{
    HADAMARD_UNROLL for (unsigned s = 1; s < rows; s *= 2)
        HADAMARD_UNROLL for (unsigned i = 0; i < rows; i++)
            if (!(i & s)) {
                const reals a = v[i], b = v[i + s], difference = a - b;
                v[i] = 2 * s < rows ? add_by_fma(a, b) : (reals)(a + b);
                v[i + s] = difference;
            }
}

/* One vector of each of so many rows, h apart: with the stages inside vectors first, if lowest. */
INLINE void butterfly(real *x, size_t h, const unsigned rows, const int lowest)
{
    reals v[16];
    HADAMARD_UNROLL for (unsigned i = 0; i < rows; i++) {
        v[i] = *(const reals *)(x + i * h);
        if (lowest)
            HADAMARD_UNROLL for (unsigned s = 1; s < REALS; s *= 2)
                v[i] = stage_within(v[i], s);
    }
    stages_across(v, rows);
    HADAMARD_UNROLL for (unsigned i = 0; i < rows; i++)
        *(reals *)(x + i * h) = v[i];
}

/*
 * The first `skew` columns and the last REALS - skew, when the others are read as aligned vectors.
 * A seam, an aligned vector too, has the end of one row (tail values) and the start of the next: two make
 * one vector of columns.  (Unaligned vectors would cost a hundred cycles at each page boundary.)
 */
INLINE void hadamard_edges(real *x, size_t h, const unsigned rows, size_t skew)
{
    const size_t tail = REALS - skew;
    const real_masks start = lanes_in_order() >= (real_word)tail;
    real *const seam = x - tail;
    reals v[17];
    v[0] = load_part(seam, tail, REALS);
    v[rows] = load_part(seam + rows * h, 0, tail);
    HADAMARD_UNROLL for (unsigned i = 1; i < rows; i++)
        v[i] = *(const reals *)(seam + i * h);
    HADAMARD_UNROLL for (unsigned i = 0; i < rows; i++)
        v[i] = blended(start, v[i], v[i + 1]);
    stages_across(v, rows);
    store_part(seam, tail, REALS, v[0]);
    store_part(seam + rows * h, 0, tail, v[rows - 1]);
    HADAMARD_UNROLL for (unsigned i = 1; i < rows; i++)
        *(reals *)(seam + i * h) = blended(start, v[i], v[i - 1]);
}

/* The stages h, 2h .. rows/2 * h of rows * h values. */
INLINE void hadamard_columns(real *x, size_t h, const unsigned rows)
{
    const size_t skew = -(uintptr_t)x % VECTOR / sizeof *x;
    for (size_t j = skew; j + REALS <= h; j += REALS)
        butterfly(x + j, h, rows, 0);
    if (skew)
        hadamard_edges(x, h, rows, skew);
}

/* The lowest stages, in blocks of so many consecutive vectors. */
INLINE void hadamard_blocks(real *x, size_t n, const unsigned vectors)
{
    for (size_t i = 0; i < n; i += vectors * REALS)
        butterfly(x + i, REALS, vectors, 1);
}

static void hadamard_recurse(real *x, size_t n)
{
    const size_t vectors = n / REALS;
    if (vectors > 256) {
        for (size_t i = 0; i < n; i += n / 8)
            hadamard_recurse(x + i, n / 8);
        hadamard_columns(x, n / 8, 8);
        return;
    }
    switch (vectors > 16 ? vectors / 16 : vectors) {
    case 1: hadamard_blocks(x, n, 1); break;
    case 2: hadamard_blocks(x, n, 2); break;
    case 4: hadamard_blocks(x, n, 4); break;
    case 8: hadamard_blocks(x, n, 8); break;
    case 16: hadamard_blocks(x, n, 16); break;
    default: /* less than a vector */
        for (size_t h = 1; h < n; h *= 2)
            for (size_t j = 0; j < n; j++)
                if (!(j & h)) {
                    const real a = x[j], b = x[j + h];
                    x[j] = a + b;
                    x[j + h] = a - b;
                }
    }
    if (vectors > 16)
        hadamard_columns(x, n / 16, 16);
}

/* x <- H x, H the Hadamard matrix in natural (Sylvester) order with 2^log2_size rows. */
static void hadamard(void *x, unsigned log2_size)
{
    hadamard_recurse(x, (size_t)1 << log2_size);
}
#endif
