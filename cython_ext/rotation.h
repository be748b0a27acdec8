/* Flattening: a randomised Hadamard rotation spreads a vector's energy evenly over its coordinates. */
#ifndef ROTATION_H
#define ROTATION_H
#include <math.h>
#include <string.h>
#include "bits.h"
#include "hadamard.h"
#include "random.h"

/* y_j = +-scale x_j of 64 values: - where the bit is not set. */
INLINE void flip_block(const real *restrict x, uint64_t signs, double scale, real *restrict y)
{
    for (int l = 0; l < 64; l++)
        y[l] = (real)((double)x[l] * scale);
    for (int l = 0; l < 64; l += REALS)
        *(real_masks *)(y + l) ^= negative(signs, l);
}

/* The same of d values: bit j % 32 of word j / 32 of the stream. */
INLINE void flip_signs(const real *x, int64_t d, uint64_t key, double scale, real *y)
{
    int64_t start = 0;
    for (; start + 64 <= d; start += 64)
        flip_block(x + start, two_words((uint32_t)(start / 32), key), scale, y + start);
    if (start < d) {
        const size_t size = (size_t)(d - start) * sizeof(real);
        real in[64] = {0}, out[64];
        memcpy(in, x + start, size);
        flip_block(in, two_words((uint32_t)(start / 32), key), scale, out);
        memcpy(y + start, out, size);
    }
}

/* y = D^(-1/2) H diag(signs) [x; 0] with D = 2^log2_size >= d values. */
static void rotate(const void *vector, int64_t d, unsigned log2_size, uint64_t key, void *rotated)
{
    real *y = rotated;
    flip_signs(vector, d, key, 1 / sqrt(ldexp(1, (int)log2_size)), y);
    memset(y + d, 0, (size_t)(((int64_t)1 << log2_size) - d) * sizeof(real));
    hadamard(y, log2_size);
}

/* The first d values of diag(signs) D^(-1/2) H y; y is overwritten. */
static void rotate_back(void *y, int64_t d, unsigned log2_size, uint64_t key, void *x)
{
    hadamard(y, log2_size);
    flip_signs(y, d, key, 1 / sqrt(ldexp(1, (int)log2_size)), x);
}
#endif
