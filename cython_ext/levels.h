/* Rounding to the nearest of a few given levels, of which the message has the numbers and a common factor. */
#ifndef LEVELS_H
#define LEVELS_H
#include <math.h>
#include <string.h>
#include "codes.h"
#include "magnitude.h"
#include "scale.h"

typedef struct {
    double bits;          /* of one code: 1 to 4 */
    double centroids[16]; /* 2^bits of them, ascending */
} levels;

static int64_t levels_nbytes(const void *parameters, int64_t d)
{
    const levels *l = parameters;
    return SCALE_BYTES + packed_size(d, (int)l->bits);
}

/* Codes of PARTS values among last + 1 centroids with ``middle`` between them; adds unit y_j (its centroid) to ``part``,
   which zeros do not change. */
INLINE void nearest_levels(const real *y, double unit, const double *centroids, const double *middle, int last,
                           uint8_t *codes, doubles part[PART_VECTORS])
{
    doubles t[PART_VECTORS], value[PART_VECTORS];
    longs code[PART_VECTORS];
    for (int k = 0; k < PART_VECTORS; k++) {
        t[k] = load_doubles(y + k * DOUBLES) * unit;
        value[k] = (doubles){0} + centroids[0];
        code[k] = (longs){0};
    }
    for (int c = 0; c < last; c++)
        for (int k = 0; k < PART_VECTORS; k++) {
            const longs above = t[k] >= (doubles){0} + middle[c];
            code[k] -= above;
            value[k] = doubles_where(above, (doubles){0} + centroids[c + 1], value[k]);
        }
    for (int k = 0; k < PART_VECTORS; k++) {
        part[k] += t[k] * value[k];
        store_low_bytes(code[k], codes + k * DOUBLES);
    }
}

/* The same of a tile of at most TILE values: its codes. */
INLINE void nearest_tile(const real *y, int size, double unit, const double *centroids, const double *middle, int last,
                         uint8_t codes[TILE], doubles part[PART_VECTORS])
{
    for (int i = 0; i < size; i += PARTS) {
        real rest[PARTS] = {0};
        const int count = size - i < PARTS ? size - i : PARTS;
        const real *v = y + i;
        if (count < PARTS)
            v = memcpy(rest, v, (size_t)count * sizeof(real));
        nearest_levels(v, unit, centroids, middle, last, codes + i, part);
    }
}

/* Codes of y sqrt(d)/|y| among the centroids, and in front the scale S = |y|^2 / <y, rounded>, so that S rounded has
   the same component along y as y has. */
static int levels_encode(const void *parameters, const void *vector, int64_t d, const uint64_t *key, uint8_t *out)
{
    const levels *l = parameters;
    const real *y = vector;
    const int bits = (int)l->bits, last = (1 << bits) - 1;
    const double norm = magnitude(y, d, EUCLIDEAN), *centroids = l->centroids;
    doubles part[PART_VECTORS] = {{0}};
    double parts[PARTS], along = 0, middle[15];
    uint8_t codes[TILE];
    (void)key;
    if (!(norm < BEYOND))
        return -1;
    if (norm < TINY) {
        memset(out, 0, (size_t)levels_nbytes(l, d));
        return 0;
    }
    const double unit = sqrt((double)d) / norm;
    for (int k = 0; k < last; k++)
        middle[k] = (centroids[k] + centroids[k + 1]) / 2;
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        nearest_tile(y + start, size, unit, centroids, middle, last, codes, part);
        pack_bytes(codes, out + SCALE_BYTES + packed_size(start, bits), size, bits);
    }
    memcpy(parts, part, sizeof parts);
    for (int j = 0; j < PARTS; j++)
        along += parts[j];
    send_scale((double)d / along / unit, out);
    return 0;
}

#if VECTOR == 64
/* value[code] in each lane, for codes below 8. */
INLINE reals looked_up(const real value[16], const uint8_t *codes)
{
    const __m512i code = sizeof(real) == 8 ? _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)codes))
                                           : _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)codes));
    return permuted(*(const reals *)value, (real_masks)code);
}
#endif

static void levels_decode(const void *parameters, const uint8_t *in, int64_t d, const uint64_t *key, void *vector)
{
    const levels *l = parameters;
    real *y = vector;
    const int bits = (int)l->bits;
    const double scale = read_scale(in);
    real value[16] = {0};
    uint8_t codes[TILE];
    (void)key;
    for (int k = 0; k < 1 << bits; k++)
        value[k] = (real)(scale * l->centroids[k]);
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        int j = 0;
        unpack_bytes(in + SCALE_BYTES + packed_size(start, bits), codes, size, bits);
#if VECTOR == 64 /* others have no permutation of so many values */
        for (; bits <= 3 && j + REALS <= size; j += REALS)
            *(reals *)(y + start + j) = looked_up(value, codes + j);
#endif
        for (; j < size; j++)
            y[start + j] = value[codes[j]];
    }
}
#endif
