/* The arithmetic of coordination on vectors of integers: int64, or int32 as long as the values of
   nodes fit into these, which is nearly twice as quick. */
#include <math.h>
#include "coordination_kernels.h"
#include "reader.h"
#include "vectors.h"

/* floor(y / z) for z >= 1; C division truncates. */
static inline int64_t floor_divide(int64_t y, int64_t z)
{
    const int64_t q = y / z;
    return q - (y % z < 0);
}

/* Integers within 2^51 are the last bits of doubles about 1.5 2^52: so they are converted, and doubles rounded to the
   nearest, by additions, which every vector unit has. */
#define MIDDLE 0x1.8p52

static inline double small_to_double(int64_t v)
{
    const double middle = MIDDLE;
    int64_t bits;
    memcpy(&bits, &middle, 8);
    bits += v;
    double moved;
    memcpy(&moved, &bits, 8);
    return moved - middle;
}

static inline int64_t round_in_double(double v)
{
    const double middle = MIDDLE, moved = v + middle;
    int64_t bits, zero;
    memcpy(&bits, &moved, 8);
    memcpy(&zero, &middle, 8);
    return bits - zero;
}

/* The same for float32, within 2^22. */
static inline int32_t round_in_float(float v)
{
    const float middle = 0x1.8p23f, moved = v + middle;
    int32_t bits, zero;
    memcpy(&bits, &moved, 4);
    memcpy(&zero, &middle, 4);
    return bits - zero;
}

/* Bits of codes whose values are divided in these. */
#define SMALL_IN_FLOAT 22
#define SMALL_IN_DOUBLE 51


#define VALUE int64_t
#define CODE uint64_t
#define NAME(name) name##_64
#define TO_DOUBLE(v) small_to_double(v)
#define ROUND(v) round_in_double(v)
#include "packing.h"
#include "coders.h"
#include "pieces.h"
#undef VALUE
#undef CODE
#undef NAME
#undef TO_DOUBLE
#undef ROUND
#define VALUE int32_t
#define CODE uint32_t
#define NAME(name) name##_32
#define TO_DOUBLE(v) ((double)(v))
#define ROUND(v) ((int32_t)rint(v))
#include "packing.h"
#include "coders.h"
#include "pieces.h"
#undef VALUE
#undef CODE
#undef NAME
#undef TO_DOUBLE
#undef ROUND

/* v = unit times values. */
static void store_times(void *v, int narrow, const int64_t *values, int64_t size, int64_t unit)
{
    if (narrow)
        for (int64_t j = 0; j < size; j++)
            ((int32_t *)v)[j] = (int32_t)(unit * values[j]);
    else
        for (int64_t j = 0; j < size; j++)
            ((int64_t *)v)[j] = unit * values[j];
}

/* int32 become int64, where they are. */
static void lengthen(void *v, int64_t size)
{
    for (int64_t j = size - 1; j >= 0; j--) {
        int32_t value;
        memcpy(&value, (char *)v + 4 * j, 4);
        const int64_t longer = value;
        memcpy((char *)v + 8 * j, &longer, 8);
    }
}

/* No |v| is larger. */
static int64_t reach_of(const void *v, int narrow, int64_t size)
{
    return largest_of(width_of(narrow ? all_codes_32(v, size) : all_codes_64(v, size)));
}

static int64_t pack_vector(const int64_t *v, int64_t d, int coder, uint8_t *out)
{
    return pack_vector_64(v, d, coder, out);
}

static int64_t add_packed(const uint8_t *in, int64_t available, int64_t d, void *y, int narrow)
{
    return narrow ? add_packed_32(in, available, d, y) : add_packed_64(in, available, d, y);
}

static void split_pieces(void *y, int narrow, int64_t d, int64_t z, int64_t pieces, const int32_t *route,
                         destination *to, int count, void *work)
{
    if (narrow)
        split_pieces_32(y, d, z, pieces, route, to, count, work);
    else
        split_pieces_64(y, d, z, pieces, route, to, count, work);
}

static int64_t share_out(void *y, void *flow, int narrow, int64_t d, int64_t z, int64_t share, double momentum,
                         int neighbours, int coder, uint8_t *packed)
{
    return narrow ? share_out_32(y, flow, d, z, share, momentum, neighbours, coder, packed)
                  : share_out_64(y, flow, d, z, share, momentum, neighbours, coder, packed);
}

static void widen_by_ratio(void *y, int narrow, int64_t d, int64_t z, int64_t *low, int64_t *high)
{
    if (narrow)
        widen_by_ratio_32(y, d, z, low, high);
    else
        widen_by_ratio_64(y, d, z, low, high);
}

static void round_ratio(const void *y, int narrow, int64_t d, int64_t z, int64_t total, int64_t unit, int64_t *sum)
{
    if (narrow)
        round_ratio_32(y, d, z, total, unit, sum);
    else
        round_ratio_64(y, d, z, total, unit, sum);
}

/* |v| as an integer of the same order. */
static inline int64_t order_of(double v)
{
    const double size = fabs(v);
    int64_t bits;
    memcpy(&bits, &size, 8);
    return bits;
}

/* ratio = x/step of a tile; true if all of them, and the centres, are below 2^50. */
static inline int small_ratios(const double *x, int size, double step, const double *centre, double *ratio)
{
    int64_t most = 0;
    for (int j = 0; j < size; j++) {
        const int64_t own = order_of(ratio[j] = x[j] / step), other = order_of(centre[j]);
        most = own > most ? own : most;
        most = other > most ? other : most;
    }
    return most < order_of(0x1p50);
}

/* Rounded ratios less the centres, all of them small, in the lanes of a vector; most and far become the orders of the
   largest. */
INLINE void quantise_lanes(const double *ratio, const int nearest, const double *centre, int64_t *out, longs *most,
                           longs *far)
{
    const doubles middle = (doubles){0} + MIDDLE, one = (doubles){0} + 1, exact = *(const doubles *)ratio;
    doubles q = (exact + middle) - middle;
    if (!nearest)
        q -= doubles_where(q > exact, one, (doubles){0});
    const doubles apart = q - *(const doubles *)centre;
    *most = larger((longs)q & INT64_MAX, *most);
    *far = larger((longs)apart & INT64_MAX, *far);
    *(longs *)out = (longs)(apart + middle) - (longs)middle;
}

static inline __attribute__((always_inline)) void quantise_small(
    const double *ratio, int size, const int nearest, const double *centre, int64_t *out, int64_t *most, int64_t *far)
{
    longs largest = {0}, farthest = {0};
    const int whole = size / 8 * 8;
    double ratios[8] = {0}, centres[8] = {0};
    int64_t last[8];
    for (int j = 0; j < whole; j += DOUBLES)
        quantise_lanes(ratio + j, nearest, centre + j, out + j, &largest, &farthest);
    memcpy(ratios, ratio + whole, (size_t)(size - whole) * 8);
    memcpy(centres, centre + whole, (size_t)(size - whole) * 8);
    for (int j = 0; j < 8; j += DOUBLES)
        quantise_lanes(ratios + j, nearest, centres + j, last + j, &largest, &farthest);
    memcpy(out + whole, last, (size_t)(size - whole) * 8);
    for (int l = 0; l < DOUBLES; l++) {
        *most = largest[l] > *most ? largest[l] : *most;
        *far = farthest[l] > *far ? farthest[l] : *far;
    }
}

static void quantise_large(const double *ratio, int size, int nearest, const double *centre, int64_t *out,
                           int64_t *most, int64_t *far)
{
    for (int j = 0; j < size; j++) {
        const double q = nearest ? rint(ratio[j]) : floor(ratio[j]), apart = q - centre[j];
        const int64_t own = order_of(q), other = order_of(apart);
        *most = own > *most ? own : *most;
        *far = other > *far ? other : *far;
        out[j] = fabs(q) < 0x1p62 && fabs(centre[j]) < 0x1p62 ? (int64_t)q - (int64_t)centre[j] : 0;
    }
}

/* x -> floor(x/step) - centre, or round(x/step) - centre; the largest |x/step| and the largest |result|, NaN if there
   is one. ``out`` is meaningless where they are beyond 2^62. */
static void quantise_row(const double *x, int64_t d, double step, int nearest, const double *centre, int64_t *out,
                         double *largest, double *farthest)
{
    int64_t most = 0, far = 0; /* as integers: NaN is larger than all */
    double ratio[TILE];
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        if (!small_ratios(x + at, size, step, centre + at, ratio))
            quantise_large(ratio, size, nearest, centre + at, out + at, &most, &far);
        else if (nearest)
            quantise_small(ratio, size, 1, centre + at, out + at, &most, &far);
        else
            quantise_small(ratio, size, 0, centre + at, out + at, &most, &far);
    }
    memcpy(largest, &most, 8);
    memcpy(farthest, &far, 8);
}

/* hat += step (q - (parts y - share m)): what a node has of its integers q when all have agreed on m stays with it. */
static void settle_row(double *hat, const int64_t *q, const void *y, int narrow, int64_t d, double parts,
                       const double *m, double share, double step)
{
    if (narrow)
        settle_row_32(hat, q, y, d, parts, m, share, step);
    else
        settle_row_64(hat, q, y, d, parts, m, share, step);
}

/* A hash of a vector, of 62 bits. */
static int64_t fingerprint(const int64_t *v, int64_t d)
{
    uint64_t lanes[8] = {1, 2, 3, 4, 5, 6, 7, 8}, h = (uint64_t)d;
    int64_t j = 0;
    for (; j + 8 <= d; j += 8)
        for (int k = 0; k < 8; k++)
            lanes[k] = (lanes[k] ^ (uint64_t)v[j + k]) * 0x9E3779B97F4A7C15ULL + (lanes[k] >> 29);
    for (int k = 0; j < d; j++, k++)
        lanes[k] = (lanes[k] ^ (uint64_t)v[j]) * 0x9E3779B97F4A7C15ULL + (lanes[k] >> 29);
    for (int k = 0; k < 8; k++)
        h = block_key(h ^ lanes[k], (uint64_t)k);
    return (int64_t)(h >> 2);
}

/* low and high, packed as low, by a coder, and then high - low, which is 0 or 1, in tiles. */
static int64_t pack_extremes(const int64_t *low, const int64_t *high, int64_t d, int coder, uint8_t *out)
{
    const uint8_t *begin = out;
    int64_t spread[TILE];
    out += pack_vector(low, d, coder, out);
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        for (int j = 0; j < size; j++)
            spread[j] = high[at + j] - low[at + j];
        out += pack_tile_64(spread, size, all_codes_64(spread, size), out);
    }
    return out - begin;
}

static int64_t widen_by_packed(const uint8_t *in, int64_t available, int64_t d, int64_t *low, int64_t *high)
{
    int64_t lowest[TILE], spread[TILE];
    int widest = 0;
    packed_reader first, second;
    const int64_t length = packed_length(in, available, d, &widest);
    if (length < 0 || !open_packed(&first, in, length, d) || !open_packed(&second, in + length, available - length, d))
        return -1;
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        if (read_tile_64(&first, size, lowest, 0) || read_tile_64(&second, size, spread, 0))
            return -1;
        for (int j = 0; j < size; j++) {
            const int64_t highest = lowest[j] + spread[j];
            low[at + j] = lowest[j] < low[at + j] ? lowest[j] : low[at + j];
            high[at + j] = highest > high[at + j] ? highest : high[at + j];
        }
    }
    return closes_packed(&first) && closes_packed(&second) ? second.in - in : -1;
}

/* True if high - low <= apart everywhere. */
static int within(const int64_t *low, const int64_t *high, int64_t d, int64_t apart)
{
    int beyond = 0;
    for (int64_t j = 0; j < d; j++)
        beyond |= high[j] - low[j] > apart;
    return !beyond;
}

DEFINE_KERNELS(coordination, COORDINATION_KERNELS)
