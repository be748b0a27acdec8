/* Vectors of int64 in as few bits as they need, and the arithmetic of coordination on them.

   A packed vector is tiles of TILE values: one byte with a width, then the values as a stream of codes of that width
   (codes.h), with 2v for v >= 0 and -2v - 1 for v < 0. Widths are 0 to 32, and 64 for what is larger. */
#include "codes.h"
#include <math.h>

#define WIDEST 32

static inline uint64_t folded(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static inline int64_t unfolded(uint64_t code)
{
    return (int64_t)(code >> 1) ^ -(int64_t)(code & 1);
}

/* Largest size of a packed vector. */
static inline int64_t packed_room(int64_t d)
{
    return 8 * d + (d + TILE - 1) / TILE;
}

/* Bytes written. */
static int64_t pack_tile(const int64_t *v, int size, uint8_t *out)
{
    uint64_t all = 0;
    for (int j = 0; j < size; j++)
        all |= folded(v[j]);
    const int bits = all ? 64 - __builtin_clzll(all) : 0;
    if (bits == 0) {
        *out = 0;
        return 1;
    }
    if (bits <= 8) {
        uint8_t codes[TILE + 8];
        for (int j = 0; j < size; j++)
            codes[j] = (uint8_t)folded(v[j]);
        pack_bytes(codes, out + 1, size, bits);
    } else if (bits <= 16) {
        uint16_t codes[TILE + 8];
        for (int j = 0; j < size; j++)
            codes[j] = (uint16_t)folded(v[j]);
        pack_shorts(codes, out + 1, size, bits);
    } else if (bits <= WIDEST) {
        uint32_t codes[TILE];
        for (int j = 0; j < size; j++)
            codes[j] = (uint32_t)folded(v[j]);
        pack_words(codes, out + 1, size, bits);
    } else {
        *out = 64;
        memcpy(out + 1, v, 8 * (size_t)size);
        return 1 + 8 * (int64_t)size;
    }
    *out = (uint8_t)bits;
    return 1 + packed_size(size, bits);
}

/* Bytes read; -1 if they are not a packed tile or go beyond ``room``. */
static int64_t unpack_tile(const uint8_t *in, int64_t room, int size, int64_t *v)
{
    const int bits = room > 0 ? *in : 255;
    const int64_t bytes = 1 + packed_size(size, bits);
    if ((bits > WIDEST && bits != 64) || bytes > room)
        return -1;
    if (bits == 0) {
        memset(v, 0, 8 * (size_t)size);
    } else if (bits <= 8) {
        uint8_t codes[TILE + 8];
        unpack_bytes(in + 1, codes, size, bits);
        for (int j = 0; j < size; j++)
            v[j] = unfolded(codes[j]);
    } else if (bits <= 16) {
        uint16_t codes[TILE + 8];
        unpack_shorts(in + 1, codes, size, bits);
        for (int j = 0; j < size; j++)
            v[j] = unfolded(codes[j]);
    } else if (bits <= WIDEST) {
        uint32_t codes[TILE];
        unpack_words(in + 1, codes, size, bits);
        for (int j = 0; j < size; j++)
            v[j] = unfolded(codes[j]);
    } else {
        memcpy(v, in + 1, 8 * (size_t)size);
    }
    return bytes;
}

static inline int tile_size(int64_t d, int64_t at)
{
    return (int)(d - at < TILE ? d - at : TILE);
}

static int64_t pack_vector(const int64_t *v, int64_t d, uint8_t *out)
{
    const uint8_t *begin = out;
    for (int64_t at = 0; at < d; at += TILE)
        out += pack_tile(v + at, tile_size(d, at), out);
    return out - begin;
}

/* y += the packed vector; bytes read or -1. */
static int64_t add_packed(const uint8_t *in, int64_t room, int64_t d, int64_t *y)
{
    int64_t read = 0, tile[TILE];
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        const int64_t bytes = unpack_tile(in + read, room - read, size, tile);
        if (bytes < 0)
            return -1;
        for (int j = 0; j < size; j++)
            y[at + j] += tile[j];
        read += bytes;
    }
    return read;
}

/* floor(y / z) for z >= 1; C division truncates. */
static inline int64_t floor_divide(int64_t y, int64_t z)
{
    const int64_t q = y / z;
    return q - (y % z < 0);
}

/* Whether |v| < 2^50 everywhere. */
static int fits_double(const int64_t *v, int size)
{
    uint64_t all = 0;
    for (int j = 0; j < size; j++)
        all |= folded(v[j]);
    return !(all >> 51);
}

/* c = floor(y/z) for a tile. In double (y + 1/2)/z is at least 1/(2z) away from every integer, which is more than the
   rounding of its product with 1/z as long as |y| < 2^50. */
static void divide_tile(const int64_t *y, int size, int64_t z, int exact, int64_t *c)
{
    if ((z & (z - 1)) == 0) {
        const int shift = __builtin_ctzll((uint64_t)z);
        for (int j = 0; j < size; j++)
            c[j] = y[j] >> shift;
    } else if (exact) {
        const double inverse = 1.0 / (double)z;
        for (int j = 0; j < size; j++)
            c[j] = (int64_t)floor(((double)y[j] + 0.5) * inverse);
    } else {
        for (int j = 0; j < size; j++)
            c[j] = floor_divide(y[j], z);
    }
}

/* Where pieces go: packed bytes, or a sum with others that wait (which they begin if fresh). */
typedef struct {
    uint8_t *packed;
    int64_t size;
    int64_t *sum;
    int fresh;
} destination;

/* One step of FTQC at a node: for z, z - 1, ..., z - pieces + 1 the piece floor(y/z) goes from y to destination
   route[0], route[1], ... of ``count``. ``work``: room for count tiles. */
static void split_pieces(int64_t *y, int64_t d, int64_t z, int64_t pieces, const int32_t *route, destination *to,
                         int count, int64_t *work)
{
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at), exact = z < 3 || fits_double(y + at, size);
        int64_t c[TILE], *left = y + at;
        for (int t = 0; t < count; t++)
            memset(work + (int64_t)t * TILE, 0, 8 * (size_t)size);
        for (int64_t k = 0; k < pieces; k++) {
            int64_t *sum = work + (int64_t)route[k] * TILE;
            divide_tile(left, size, z - k, exact, c);
            for (int j = 0; j < size; j++) {
                left[j] -= c[j];
                sum[j] += c[j];
            }
        }
        for (int t = 0; t < count; t++) {
            const int64_t *sum = work + (int64_t)t * TILE;
            if (to[t].packed)
                to[t].size += pack_tile(sum, size, to[t].packed + to[t].size);
            else if (to[t].fresh)
                memcpy(to[t].sum + at, sum, 8 * (size_t)size);
            else
                for (int j = 0; j < size; j++)
                    to[t].sum[at + j] += sum[j];
        }
    }
}

/* One step of integer push-sum at a node: round(share y/z) for each of the neighbours, packed once; bytes written. What
   is sent is what is subtracted: any integer keeps the sum, but only those within about one let the ratios settle,
   hence long double (64 bits of mantissa, or more) for what double cannot hold. */
static int64_t share_out(int64_t *y, int64_t d, int64_t z, int64_t share, int neighbours, uint8_t *packed)
{
    const double part = (double)share / (double)z;
    const long double long_part = (long double)share / (long double)z;
    int64_t bytes = 0, c[TILE];
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        if (fits_double(y + at, size))
            for (int j = 0; j < size; j++)
                c[j] = (int64_t)floor(part * (double)y[at + j] + 0.5);
        else
            for (int j = 0; j < size; j++)
                c[j] = (int64_t)floorl(long_part * (long double)y[at + j] + 0.5L);
        for (int j = 0; j < size; j++)
            y[at + j] -= neighbours * c[j];
        bytes += pack_tile(c, size, packed + bytes);
    }
    return bytes;
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

/* low = min(low, floor(y/z)), high = max(high, ceil(y/z)). */
static void widen_by_ratio(const int64_t *y, int64_t d, int64_t z, int64_t *low, int64_t *high)
{
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        int64_t c[TILE];
        divide_tile(y + at, size, z, fits_double(y + at, size), c);
        for (int j = 0; j < size; j++) {
            const int64_t up = c[j] + (c[j] * z != y[at + j]);
            low[at + j] = c[j] < low[at + j] ? c[j] : low[at + j];
            high[at + j] = up > high[at + j] ? up : high[at + j];
        }
    }
}

/* The sum S over nodes that a ratio of push-sum stands for: round(n y/z). S is between the smallest and the largest
   n y/z, so that where all nodes find the same integer it is S, even with an error of nearly 1/2 in each ratio: that of
   doubles is below 1/8 for |S| < 2^48, that of long doubles for |S| <= 2^60. */
static void round_ratio(const int64_t *y, int64_t d, int64_t z, int64_t nodes, int64_t *sum)
{
    const double scale = (double)nodes / (double)z;
    const long double long_scale = (long double)nodes / (long double)z;
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        int large = 0;
        for (int j = 0; j < size; j++)
            large |= fabs(scale * (double)y[at + j]) >= 0x1p48;
        if (!large)
            for (int j = 0; j < size; j++)
                sum[at + j] = (int64_t)floor(scale * (double)y[at + j] + 0.5);
        else
            for (int j = 0; j < size; j++)
                sum[at + j] = (int64_t)floorl(long_scale * (long double)y[at + j] + 0.5L);
    }
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

/* low, high and what a neighbour knows of them, packed as low and high - low. */
static int64_t pack_extremes(const int64_t *low, const int64_t *high, int64_t d, uint8_t *out)
{
    const uint8_t *begin = out;
    int64_t spread[TILE];
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        out += pack_tile(low + at, size, out);
        for (int j = 0; j < size; j++)
            spread[j] = high[at + j] - low[at + j];
        out += pack_tile(spread, size, out);
    }
    return out - begin;
}

static int64_t widen_by_packed(const uint8_t *in, int64_t room, int64_t d, int64_t *low, int64_t *high)
{
    int64_t read = 0, lowest[TILE], spread[TILE];
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        int64_t bytes = unpack_tile(in + read, room - read, size, lowest);
        if (bytes < 0)
            return -1;
        read += bytes;
        bytes = unpack_tile(in + read, room - read, size, spread);
        if (bytes < 0)
            return -1;
        read += bytes;
        for (int j = 0; j < size; j++) {
            const int64_t highest = lowest[j] + spread[j];
            low[at + j] = lowest[j] < low[at + j] ? lowest[j] : low[at + j];
            high[at + j] = highest > high[at + j] ? highest : high[at + j];
        }
    }
    return read;
}

/* low = min(low, v), high = max(high, v). */
static inline void widen_by_value(int64_t v, int64_t *low, int64_t *high)
{
    *low = v < *low ? v : *low;
    *high = v > *high ? v : *high;
}

/* Whether high - low <= apart everywhere. */
static int within(const int64_t *low, const int64_t *high, int64_t d, int64_t apart)
{
    int beyond = 0;
    for (int64_t j = 0; j < d; j++)
        beyond |= high[j] - low[j] > apart;
    return !beyond;
}
