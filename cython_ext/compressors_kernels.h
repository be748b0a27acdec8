/* Between vectors and messages: what messages consist of, and the kernels that make and read them. */
#ifndef COMPRESSORS_KERNELS_H
#define COMPRESSORS_KERNELS_H
#include <stdint.h>
#include "kernels.h"

/* How large a vector is. */
enum { LARGEST, EUCLIDEAN, MEAN_ABSOLUTE };
/* Vectors smaller than this are sent as zero: the reciprocal of their scale would overflow. Values beyond the other
   count as not finite: there must be room for a power of two above them. */
#define TINY 0x1p-900
#define BEYOND 0x1p1022

/* What the step of the grid follows from: given; the largest value or the norm of the vector, divided by the number of
   levels; or zooming, the smallest of given * zoom^j (j = 0, 1, ...) at which no value is beyond the last level. */
enum { GIVEN, BY_LARGEST, BY_NORM, ZOOMING };

typedef struct {
    int64_t bits;   /* of one code */
    int64_t rule;   /* how the step is found; all but GIVEN send a scale of 4 bytes in front of the codes */
    int64_t levels; /* codes on each side of zero */
    double shift;   /* code = floor(x / step + shift + u), u uniform on [0, 1) if stochastic, else 1/2 */
    double centre;  /* x = step (code - centre) */
    double given, zoom;
} grid;

static inline int64_t grid_header(const grid *g) { return g->rule == GIVEN ? 0 : 4; }

/* What the amplitude of the signs follows from; all but CONSTANT send it in 4 bytes in front of the bits. */
enum { CONSTANT, LARGEST_VALUE, MEAN_VALUE, ROOT_MEAN_SQUARE };

static inline int64_t sign_header(int rule) { return rule == CONSTANT ? 0 : 4; }

enum { FLOAT32, FLOAT16, BFLOAT16, POWERS_OF_TWO };

static inline int64_t float_bits(int format)
{
    return format == FLOAT32 ? 32 : format == POWERS_OF_TWO ? 9 : 16;
}

/* Bits of an index below d. */
static inline int index_bits(int64_t d)
{
    int bits = 0;
    while ((int64_t)1 << bits < d)
        bits++;
    return bits;
}

#define VECTOR_KERNELS(EACH, real, f) \
    EACH(int, quantise_##f, (const grid *, const real *, int64_t, uint8_t *, const uint64_t *)) \
    EACH(void, dequantise_##f, (const grid *, const uint8_t *, int64_t, real *)) \
    EACH(int, sign_encode_##f, (const real *, int64_t, int, double, const uint64_t *, uint8_t *)) \
    EACH(void, sign_decode_##f, (const uint8_t *, int64_t, int, double, real *)) \
    EACH(void, add_signs_##f, (const uint8_t *, int64_t, int, double, real *)) \
    EACH(void, mean_of_votes_##f, (const int32_t *, int64_t, int64_t, double, real *)) \
    EACH(void, hadamard_##f, (real *, unsigned)) \
    EACH(void, rotate_##f, (const real *, int64_t, unsigned, uint64_t, real *)) \
    EACH(void, rotate_back_##f, (real *, int64_t, unsigned, uint64_t, real *)) \
    EACH(int, levels_encode_##f, (const real *, int64_t, const double *, int, uint8_t *)) \
    EACH(void, levels_decode_##f, (const uint8_t *, int64_t, const double *, int, real *)) \
    EACH(int, floats_encode_##f, (const real *, int64_t, int, const uint64_t *, uint8_t *)) \
    EACH(void, floats_decode_##f, (const uint8_t *, int64_t, int, real *)) \
    EACH(void, largest_##f, (const real *, int64_t, int64_t, uint32_t *)) \
    EACH(int, gather_##f, (const real *, int64_t, const uint32_t *, int64_t, uint8_t *)) \
    EACH(void, scatter_##f, (const uint8_t *, int64_t, const uint32_t *, int64_t, double, real *)) \
    EACH(double, magnitude_##f, (const real *, int64_t, int))

#define COMPRESSORS_KERNELS(EACH) \
    VECTOR_KERNELS(EACH, double, f64) \
    VECTOR_KERNELS(EACH, float, f32) \
    EACH(void, pack_words, (const uint32_t *, uint8_t *, int64_t, int)) \
    EACH(void, unpack_words, (const uint8_t *, uint32_t *, int64_t, int)) \
    EACH(void, choose, (int64_t, int64_t, uint64_t, uint32_t *)) \
    EACH(void, count_votes, (const uint8_t *, int64_t, int64_t, int64_t, int32_t *))

DECLARE_KERNELS(compressors, COMPRESSORS_KERNELS)
#endif
