/* Rounding to a uniform grid, to nearest or by chance. */
#ifndef UNIFORM_GRID_H
#define UNIFORM_GRID_H
#include <math.h>
#include <string.h>
#include "codes.h"
#include "magnitude.h"
#include "random.h"
#include "scale.h"

/* What the step of the grid follows from: given; the largest value or the norm of the vector, divided by ``levels``; or
   zooming, the smallest of given * zoom^j (j = 0, 1, ...) at which no value is beyond the last level. All but GIVEN send
   a scale in front of the codes: the step, the largest value or the norm. */
enum { GIVEN, BY_LARGEST, BY_NORM, ZOOMING };

typedef struct {
    double bits;   /* of one code */
    double rule;   /* how the step is found */
    double levels; /* codes on each side of zero */
    double shift;  /* code = floor(x / step + shift + u), u uniform on [0, 1) if there is a key, else 1/2 */
    double centre; /* x = step (code - centre) */
    double given, zoom;
} uniform_grid;

static int64_t uniform_grid_nbytes(const void *parameters, int64_t d)
{
    const uniform_grid *g = parameters;
    return (g->rule == GIVEN ? 0 : SCALE_BYTES) + packed_size(d, (int)g->bits);
}

static inline double step_of_grid(const uniform_grid *g, double scale)
{
    return g->rule == GIVEN || g->rule == ZOOMING ? scale : scale / g->levels;
}

/* base^exponent by products in a fixed order: pow differs between processors in the last bit. */
static inline double integer_power(double base, int64_t exponent)
{
    double power = 1;
    for (; exponent; exponent >>= 1, base *= base)
        if (exponent & 1)
            power *= base;
    return power;
}

/* given * zoom^j; the power alone may be too large for a number. */
static inline double zoomed(const uniform_grid *g, int64_t j)
{
    return g->given * integer_power(g->zoom, j / 2) * integer_power(g->zoom, j - j / 2);
}

/* The scale of a vector whose largest value, or norm, is ``size``. */
static inline double scale_of_grid(const uniform_grid *g, double size)
{
    if (g->rule != ZOOMING)
        return size < TINY ? 0 : size;
    const double last = g->levels;
    if (!(g->given * last < size))
        return g->given;
    /* where to begin: what rounding could make too large, and the library's logarithm different, is taken off */
    int64_t j = (int64_t)floor((log(size) - log(last) - log(g->given)) / log(g->zoom)) - 1;
    for (j = j > 1 ? j : 1; zoomed(g, j) * last < size; j++)
        ;
    return zoomed(g, j);
}

/* How values become codes: floor(x * inverse + shift + u - 1/2), at least 0 and at most ``top``. */
typedef struct {
    double inverse, shift, top;
    int bits, given;
} rounding;

/* Codes of one tile to nearest, or of more than 8 bits; returns 1 if a value is not finite. */
#define DEFINE_ROUND(name, code) \
    static inline int64_t name(const rounding *r, const real *x, const uint32_t *random, code *codes, int size) \
    { \
        const double inverse = r->inverse, shift = r->shift, top = r->top; \
        int64_t bad = 0; \
        for (int j = 0; j < size; j++) { \
            double t = (double)x[j] * inverse + (shift + centred(random[j])); \
            bad |= beyond((double)x[j]); \
            t = t > 0 ? t : 0; \
            t = t < top ? t : top; \
            codes[j] = (code)(int32_t)t; \
        } \
        return bad < 0; \
    }
DEFINE_ROUND(round_to_bytes, uint8_t)
DEFINE_ROUND(round_to_words, uint32_t)
#undef DEFINE_ROUND

/* Codes of at most 8 bits by chance: in single precision, with 16 random bits for each, which is fine enough for so few
   levels (probabilities are right to 2^-16) and twice as fast. Unless the step is given values are known to be finite. */
INLINE int64_t round_by_chance(const rounding *r, const real *x, const half_word *random, uint8_t *codes, int size,
                               const int given)
{
    const double inverse = r->inverse;
    const float shift = (float)r->shift, top = (float)r->top;
    int64_t bad = 0;
    for (int j = 0; j < size; j++) {
        float t = (float)((double)x[j] * inverse) + add_exact(random[j], 0x1p-16f, shift);
        if (given)
            bad |= beyond((double)x[j]);
        t = t > 0 ? t : 0;
        t = t < top ? t : top;
        codes[j] = (uint8_t)(int32_t)t;
    }
    return bad < 0;
}

/* The same of a tile of finite values, ``next`` the place of the same tile in the next row. Rounding computes, measuring
   reads: the next of many short vectors comes while this one is rounded. */
INLINE void round_finite(const rounding *r, const real *x, const real *next, const half_word *random, uint8_t *codes,
                         int size)
{
    for (int part = 0; part < size; part += 128) {
        for (int line = 0; line < 128 && next; line += 64 / (int)sizeof(real))
            __builtin_prefetch(next + part + line, 0, 2);
        const int left = size - part < 128 ? size - part : 128;
        round_by_chance(r, x + part, random + part, codes + part, left, 0);
    }
}

/* The codes of d finite values, or values that are found not to be: then the result is -1, else 0. */
INLINE int round_vector(const rounding *r, const real *x, int64_t d, const uint64_t *key, uint8_t *out)
{
    const int bits = r->bits, chance = key && bits <= 8;
    uint32_t random[TILE], words[TILE];
    uint8_t bytes[TILE];
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        uint8_t *piece = out + packed_size(start, bits);
        int64_t bad = 0;
        random_words(random, (uint32_t)(chance ? start / 2 : start), key, chance ? (size + 1) / 2 : size);
        if (bits > 8)
            bad = round_to_words(r, x + start, random, words, size);
        else if (!chance)
            bad = round_to_bytes(r, x + start, random, bytes, size);
        else if (r->given)
            bad = round_by_chance(r, x + start, (const half_word *)random, bytes, size, 1);
        else
            round_finite(r, x + start, d <= 16 * TILE ? x + d + start : NULL, (const half_word *)random, bytes, size);
        if (bad)
            return -1;
        if (bits <= 8)
            pack_bytes(bytes, piece, size, bits);
        else
            pack_words(words, piece, size, bits);
    }
    return 0;
}

static int uniform_grid_encode(const void *parameters, const void *x, int64_t d, const uint64_t *key, uint8_t *out)
{
    const uniform_grid *g = parameters;
    const int bits = (int)g->bits;
    double scale = g->given;
    if (g->rule != GIVEN) {
        const double size = magnitude(x, d, g->rule == BY_NORM ? EUCLIDEAN : LARGEST);
        if (!(size < BEYOND))
            return -1;
        scale = send_scale(scale_of_grid(g, size), out);
        out += SCALE_BYTES;
        if (scale == 0) {
            memset(out, 0, (size_t)packed_size(d, bits));
            return 0;
        }
    }
    const double last = (double)(((int64_t)1 << bits) - 1), top = 2 * g->levels < last ? 2 * g->levels : last;
    const rounding r = {1 / step_of_grid(g, scale), g->shift + 0.5, top, bits, g->rule == GIVEN};
    return round_vector(&r, x, d, key, out);
}

static void uniform_grid_decode(const void *parameters, const uint8_t *in, int64_t d, const uint64_t *key, void *vector)
{
    const uniform_grid *g = parameters;
    real *x = vector;
    const int bits = (int)g->bits;
    double scale = g->given;
    (void)key;
    if (g->rule != GIVEN) {
        scale = read_scale(in);
        in += SCALE_BYTES;
        if (scale == 0) {
            memset(x, 0, (size_t)d * sizeof(real));
            return;
        }
    }
    const double step = step_of_grid(g, scale), centre = g->centre;
    uint8_t bytes[TILE];
    uint32_t words[TILE];
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        const uint8_t *piece = in + packed_size(start, bits);
        real *out = x + start;
        if (bits <= 8) {
            unpack_bytes(piece, bytes, size, bits);
            for (int j = 0; j < size; j++)
                out[j] = (real)(step * ((double)bytes[j] - centre));
        } else {
            unpack_words(piece, words, size, bits);
            for (int j = 0; j < size; j++)
                out[j] = (real)(step * ((double)(int32_t)words[j] - centre));
        }
    }
}
#endif
