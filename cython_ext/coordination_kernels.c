/* The arithmetic of coordination on vectors of integers: int64, or int32 as long as these have room for what nodes
   hold, which is nearly twice as quick. */
#include <math.h>
#include "coordination_kernels.h"

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
#include "pieces.h"
#undef VALUE
#undef CODE
#undef NAME
#undef TO_DOUBLE
#undef ROUND

/* v = unit times values. */
static void hold(void *v, int narrow, const int64_t *values, int64_t size, int64_t unit)
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

static int64_t pack_vector(const int64_t *v, int64_t d, uint8_t *out)
{
    const uint8_t *begin = out;
    for (int64_t at = 0; at < d; at += TILE)
        out += pack_tile_64(v + at, tile_size(d, at), all_codes_64(v + at, tile_size(d, at)), out);
    return out - begin;
}

static int64_t add_packed(const uint8_t *in, int64_t room, int64_t d, void *y, int narrow)
{
    return narrow ? add_packed_32(in, room, d, y) : add_packed_64(in, room, d, y);
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
                         int neighbours, uint8_t *packed)
{
    return narrow ? share_out_32(y, flow, d, z, share, momentum, neighbours, packed)
                  : share_out_64(y, flow, d, z, share, momentum, neighbours, packed);
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

/* x -> floor(x/step) - centre, or round(x/step) - centre; the largest |x/step| and the largest |result|, NaN if there
   is one. ``out`` is meaningless where they are beyond 2^62. */
static void quantise_row(const double *x, int64_t d, double step, int nearest, const double *centre, int64_t *out,
                         double *largest, double *farthest)
{
    double most = 0, far = 0, bad = 0;
    for (int64_t j = 0; j < d; j++) {
        const double ratio = x[j] / step, q = nearest ? rint(ratio) : floor(ratio), apart = q - centre[j];
        bad += q - q;
        most = fabs(q) > most ? fabs(q) : most;
        far = fabs(apart) > far ? fabs(apart) : far;
        out[j] = fabs(q) < 0x1p62 && fabs(centre[j]) < 0x1p62 ? (int64_t)q - (int64_t)centre[j] : 0;
    }
    *largest = most + bad;
    *farthest = far + bad;
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

/* low and high, packed as low and then high - low. */
static int64_t pack_extremes(const int64_t *low, const int64_t *high, int64_t d, uint8_t *out)
{
    const uint8_t *begin = out;
    int64_t spread[TILE];
    out += pack_vector(low, d, out);
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        for (int j = 0; j < size; j++)
            spread[j] = high[at + j] - low[at + j];
        out += pack_tile_64(spread, size, all_codes_64(spread, size), out);
    }
    return out - begin;
}

static int64_t widen_by_packed(const uint8_t *in, int64_t room, int64_t d, int64_t *low, int64_t *high)
{
    const int64_t length = extremes_length(in, room, d);
    int64_t lowest[TILE], spread[TILE];
    int widest = 0;
    if (length < 0)
        return -1;
    const uint8_t *end = in + length, *second = in + packed_length(in, room, d, &widest);
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        in += unpack_tile_64(in, end - in, size, lowest, 0);
        second += unpack_tile_64(second, end - second, size, spread, 0);
        for (int j = 0; j < size; j++) {
            const int64_t highest = lowest[j] + spread[j];
            low[at + j] = lowest[j] < low[at + j] ? lowest[j] : low[at + j];
            high[at + j] = highest > high[at + j] ? highest : high[at + j];
        }
    }
    return length;
}

/* Whether high - low <= apart everywhere. */
static int within(const int64_t *low, const int64_t *high, int64_t d, int64_t apart)
{
    int beyond = 0;
    for (int64_t j = 0; j < d; j++)
        beyond |= high[j] - low[j] > apart;
    return !beyond;
}

DEFINE_KERNELS(coordination, COORDINATION_KERNELS)
