/* Vectors of int64 in as few bits as they need, and the arithmetic of coordination on them.

   A packed vector is tiles of TILE values: one byte with a width, then codes of that width, 2v for v >= 0 and -2v - 1
   for v < 0. Widths are 0 to 32, and 64 for what is larger. A tile of no more than FEW values is just numbers. Of a tile every full BLOCK of codes is in LANES streams of
   words of 32 bits side by side, code j in stream j % LANES, so that a vector register packs LANES codes at once; the
   rest is one stream (codes.h). Streams side by side: Lemire, Boytsov, "Decoding billions of integers per second
   through vectorization" (2015). */
#include "codes.h"
#include <math.h>

#define WIDEST 32
#define LANES 8
#define BLOCK (32 * LANES)

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t signed_lanes __attribute__((vector_size(4 * LANES)));
typedef int64_t wide_lanes __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

static inline uint64_t folded(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static inline int64_t unfolded(uint64_t code)
{
    return (int64_t)(code >> 1) ^ -(int64_t)(code & 1);
}

static inline int tile_size(int64_t d, int64_t at)
{
    return (int)(d - at < TILE ? d - at : TILE);
}

/* Numbers in groups of 7 bits, the upper bit of a byte says that there is more: at most NUMBER_MOST bytes. */
#define NUMBER_MOST 10
#define FEW 2

static inline int put_number(uint64_t v, uint8_t *out)
{
    int bytes = 0;
    for (; v > 127; v >>= 7)
        out[bytes++] = (uint8_t)(v | 128);
    out[bytes++] = (uint8_t)v;
    return bytes;
}

/* Bytes read; -1 if there is no number. */
static inline int get_number(const uint8_t *in, int64_t room, uint64_t *v)
{
    *v = 0;
    for (int bytes = 0; bytes < room && bytes < NUMBER_MOST; bytes++) {
        *v |= (uint64_t)(in[bytes] & 127) << 7 * bytes;
        if (in[bytes] < 128)
            return bytes + 1;
    }
    return -1;
}

/* Largest size of a packed vector. */
static inline int64_t packed_room(int64_t d)
{
    return 8 * d + (d + TILE - 1) / TILE + FEW * NUMBER_MOST;
}

/* A block as codes of 1 to 32 bits. */
static inline void pack_block(const int64_t *v, uint8_t *out, int bits)
{
    lanes held = {0};
    int filled = 0;
    for (int j = 0; j < BLOCK; j += LANES) {
        const signed_lanes value = __builtin_convertvector(*(const wide_lanes *)(v + j), signed_lanes);
        const lanes code = (lanes)(value << 1 ^ value >> 31);
        held |= code << filled;
        filled += bits;
        if (filled >= 32) {
            memcpy(out, &held, sizeof(lanes));
            out += sizeof(lanes);
            filled -= 32;
            held = filled ? code >> (bits - filled) : (lanes){0};
        }
    }
}

/* The reverse, into v or added to it. */
static inline void unpack_block(const uint8_t *in, int64_t *v, int bits, const int add)
{
    const uint32_t mask = 0xFFFFFFFFu >> (32 - bits);
    lanes held;
    int used = 0;
    memcpy(&held, in, sizeof(lanes));
    for (int j = 0; j < BLOCK; j += LANES) {
        lanes code = held >> used;
        used += bits;
        if (used >= 32 && j + LANES < BLOCK) {
            in += sizeof(lanes);
            memcpy(&held, in, sizeof(lanes));
            used -= 32;
            if (used)
                code |= held << (bits - used);
        }
        code &= mask;
        const signed_lanes value = (signed_lanes)(code >> 1) ^ -(signed_lanes)(code & 1);
        wide_lanes *into = (wide_lanes *)(v + j);
        *into = __builtin_convertvector(value, wide_lanes) + (add ? *into : (wide_lanes){0});
    }
}

/* What is left of a tile behind its blocks. */
static void pack_rest(const int64_t *v, uint8_t *out, int size, int bits)
{
    uint32_t codes[BLOCK];
    for (int j = 0; j < size; j++)
        codes[j] = (uint32_t)folded(v[j]);
    pack_words(codes, out, size, bits);
}

static void unpack_rest(const uint8_t *in, int64_t *v, int size, int bits, const int add)
{
    uint32_t codes[BLOCK];
    unpack_words(in, codes, size, bits);
    for (int j = 0; j < size; j++)
        v[j] = unfolded(codes[j]) + (add ? v[j] : 0);
}

/* All codes of values, one over the other: how many bits they need. */
static uint64_t all_codes(const int64_t *v, int size)
{
    uint64_t all = 0;
    for (int j = 0; j < size; j++)
        all |= folded(v[j]);
    return all;
}

/* Bytes written; all: as from all_codes. */
static int64_t pack_tile(const int64_t *v, int size, uint64_t all, uint8_t *out)
{
    if (size <= FEW) {
        const uint8_t *begin = out;
        for (int j = 0; j < size; j++)
            out += put_number(folded(v[j]), out);
        return out - begin;
    }
    const int bits = all ? 64 - __builtin_clzll(all) : 0;
    if (bits > WIDEST) {
        *out = 64;
        memcpy(out + 1, v, 8 * (size_t)size);
        return 1 + 8 * (int64_t)size;
    }
    *out++ = (uint8_t)bits;
    if (bits) {
        int j = 0;
        for (; j + BLOCK <= size; j += BLOCK)
            pack_block(v + j, out + j / 8 * bits, bits);
        pack_rest(v + j, out + j / 8 * bits, size - j, bits);
    }
    return 1 + packed_size(size, bits);
}

/* Bytes of a packed tile; -1 if it is none or goes beyond ``room``. */
static inline int64_t tile_length(const uint8_t *in, int64_t room, int size)
{
    uint64_t code;
    int64_t bytes = 0;
    if (size <= FEW) {
        for (int j = 0; j < size; j++) {
            const int number = get_number(in + bytes, room - bytes, &code);
            if (number < 0)
                return -1;
            bytes += number;
        }
        return bytes;
    }
    const int bits = room > 0 ? *in : 255;
    bytes = 1 + packed_size(size, bits);
    return (bits > WIDEST && bits != 64) || bytes > room ? -1 : bytes;
}

/* Into v, or added to it; bytes read, -1 if they are not a packed tile or go beyond ``room``. */
static inline int64_t unpack_tile(const uint8_t *in, int64_t room, int size, int64_t *v, const int add)
{
    const int64_t bytes = tile_length(in, room, size);
    if (bytes < 0)
        return -1;
    if (size <= FEW) {
        for (int j = 0; j < size; j++) {
            uint64_t code;
            in += get_number(in, bytes, &code);
            v[j] = unfolded(code) + (add ? v[j] : 0);
        }
        return bytes;
    }
    const int bits = *in++;
    int j = 0;
    if (bits == 64) {
        for (; j < size; j++) {
            int64_t value;
            memcpy(&value, in + 8 * j, 8);
            v[j] = value + (add ? v[j] : 0);
        }
    } else if (bits) {
        for (; j + BLOCK <= size; j += BLOCK)
            unpack_block(in + j / 8 * bits, v + j, bits, add);
        unpack_rest(in + j / 8 * bits, v + j, size - j, bits, add);
    } else if (!add) {
        memset(v, 0, 8 * (size_t)size);
    }
    return bytes;
}

/* Bytes of a packed vector; -1 if it is none or goes beyond ``room``. */
static int64_t packed_length(const uint8_t *in, int64_t room, int64_t d)
{
    int64_t read = 0;
    for (int64_t at = 0; at < d; at += TILE) {
        const int64_t bytes = tile_length(in + read, room - read, tile_size(d, at));
        if (bytes < 0)
            return -1;
        read += bytes;
    }
    return read;
}

static int64_t pack_vector(const int64_t *v, int64_t d, uint8_t *out)
{
    const uint8_t *begin = out;
    for (int64_t at = 0; at < d; at += TILE)
        out += pack_tile(v + at, tile_size(d, at), all_codes(v + at, tile_size(d, at)), out);
    return out - begin;
}

/* y += the packed vector; bytes read or -1. */
static int64_t add_packed(const uint8_t *in, int64_t room, int64_t d, int64_t *y)
{
    int64_t read = 0;
    for (int64_t at = 0; at < d; at += TILE) {
        const int64_t bytes = unpack_tile(in + read, room - read, tile_size(d, at), y + at, 1);
        if (bytes < 0)
            return -1;
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

static inline int64_t round_small(double v)
{
    const double middle = MIDDLE, moved = v + middle;
    int64_t bits, zero;
    memcpy(&bits, &moved, 8);
    memcpy(&zero, &middle, 8);
    return bits - zero;
}

/* Whether |v| < 2^50 everywhere. */
static int are_small(const int64_t *v, int size)
{
    return !(all_codes(v, size) >> 51);
}

/* c = floor(y/z) for a tile, which with ``take`` goes off y; returns all codes of c. In double (y + 1/2)/z - 1/2 is at
   least 1/(2z) away from where it would be rounded to another integer, which is more than the roundings of doubles as
   long as y is small. */
static inline uint64_t divide_tile(int64_t *restrict y, int size, int64_t z, int64_t *restrict c, const int take)
{
    uint64_t all = 0;
    if ((z & (z - 1)) == 0) {
        const int shift = __builtin_ctzll((uint64_t)z);
        for (int j = 0; j < size; j++) {
            c[j] = y[j] >> shift;
            y[j] -= take ? c[j] : 0;
            all |= folded(c[j]);
        }
    } else if (are_small(y, size)) {
        const double inverse = 1.0 / (double)z;
        for (int j = 0; j < size; j++) {
            c[j] = round_small((small_to_double(y[j]) + 0.5) * inverse - 0.5);
            y[j] -= take ? c[j] : 0;
            all |= folded(c[j]);
        }
    } else {
        for (int j = 0; j < size; j++) {
            c[j] = floor_divide(y[j], z);
            y[j] -= take ? c[j] : 0;
            all |= folded(c[j]);
        }
    }
    return all;
}

/* Where pieces go: packed bytes, or a sum with others that wait (which they begin if fresh). */
typedef struct {
    uint8_t *packed;
    int64_t size;
    int64_t *sum;
    int fresh;
    int64_t begun; /* where the last tile with a piece begins, plus one */
    uint64_t all;  /* of that tile: its codes */
} destination;

/* One step of FTQC at a node: for z, z - 1, ..., z - pieces + 1 the piece floor(y/z) goes from y to destination
   route[0], route[1], ... of ``count``, of which each gets some. ``work``: room for count tiles. */
static void split_pieces(int64_t *y, int64_t d, int64_t z, int64_t pieces, const int32_t *route, destination *to,
                         int count, int64_t *work)
{
    for (int t = 0; t < count; t++)
        to[t].begun = 0;
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        int64_t c[TILE];
        for (int64_t k = 0; k < pieces; k++) {
            const int first = to[route[k]].begun <= at;
            int64_t *sum = work + (int64_t)route[k] * TILE, *piece = first ? sum : c;
            to[route[k]].all = divide_tile(y + at, size, z - k, piece, 1);
            to[route[k]].begun = at + 1;
            if (!first) {
                for (int j = 0; j < size; j++)
                    sum[j] += c[j];
                to[route[k]].all = all_codes(sum, size);
            }
        }
        for (int t = 0; t < count; t++) {
            const int64_t *sum = work + (int64_t)t * TILE;
            if (to[t].packed)
                to[t].size += pack_tile(sum, size, to[t].all, to[t].packed + to[t].size);
            else if (to[t].fresh)
                memcpy(to[t].sum + at, sum, 8 * (size_t)size);
            else
                for (int j = 0; j < size; j++)
                    to[t].sum[at + j] += sum[j];
        }
    }
}

/* c = round(part y + momentum c), c what was sent before, goes off y for each neighbour; returns all codes of c. Any
   integer that is sent and subtracted keeps the sum, but only those within about one let the ratios settle, hence long
   double (64 bits of mantissa, or more) for what double cannot hold. */
static inline uint64_t share_tile(int64_t *restrict y, int size, int64_t z, int64_t share, double momentum,
                                  int64_t neighbours, int64_t *restrict c)
{
    const double part = (double)share / (double)z;
    const long double long_part = (long double)share / (long double)z;
    uint64_t all = 0;
    if (are_small(y, size) && are_small(c, size))
        for (int j = 0; j < size; j++) {
            c[j] = round_small(part * small_to_double(y[j]) + momentum * small_to_double(c[j]));
            y[j] -= neighbours * c[j];
            all |= folded(c[j]);
        }
    else
        for (int j = 0; j < size; j++) {
            c[j] = (int64_t)floorl(long_part * (long double)y[j] + (long double)momentum * (long double)c[j] + 0.5L);
            y[j] -= neighbours * c[j];
            all |= folded(c[j]);
        }
    return all;
}

/* One step of integer push-sum at a node: what goes to each of the neighbours, packed once; bytes written. ``flow``:
   what went to them in the step before, and then in this one. */
static int64_t share_out(int64_t *y, int64_t *flow, int64_t d, int64_t z, int64_t share, double momentum,
                         int neighbours, uint8_t *packed)
{
    int64_t bytes = 0;
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        const uint64_t all = share_tile(y + at, size, z, share, momentum, neighbours, flow + at);
        bytes += pack_tile(flow + at, size, all, packed + bytes);
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
static void widen_by_ratio(int64_t *y, int64_t d, int64_t z, int64_t *low, int64_t *high)
{
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        int64_t c[TILE];
        divide_tile(y + at, size, z, c, 0);
        for (int j = 0; j < size; j++) {
            const int64_t up = c[j] + (c[j] * z != y[at + j]);
            low[at + j] = c[j] < low[at + j] ? c[j] : low[at + j];
            high[at + j] = up > high[at + j] ? up : high[at + j];
        }
    }
}

/* The sum S over nodes that a ratio of push-sum stands for: round(total y/(unit z)), total the sum of all z. S is
   between the smallest and the largest of these, so that where all nodes find the same integer it is S, even with an
   error of nearly 1/2 in each ratio: that of doubles is below 1/8 for |S| < 2^48, that of long doubles for
   |S| <= 2^60. */
static void round_ratio(const int64_t *y, int64_t d, int64_t z, int64_t total, int64_t unit, int64_t *sum)
{
    const long double long_scale = (long double)total / (long double)unit / (long double)z;
    const double scale = (double)long_scale;
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        int large = !are_small(y + at, size);
        for (int j = 0; j < size; j++)
            large |= fabs(scale * small_to_double(y[at + j])) >= 0x1p48;
        if (!large)
            for (int j = 0; j < size; j++)
                sum[at + j] = round_small(scale * small_to_double(y[at + j]));
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
        out += pack_tile(spread, size, all_codes(spread, size), out);
    }
    return out - begin;
}

/* Bytes of packed extremes; -1 if they are none or go beyond ``room``. */
static int64_t extremes_length(const uint8_t *in, int64_t room, int64_t d)
{
    const int64_t low = packed_length(in, room, d);
    const int64_t spread = low < 0 ? -1 : packed_length(in + low, room - low, d);
    return spread < 0 ? -1 : low + spread;
}

static int64_t widen_by_packed(const uint8_t *in, int64_t room, int64_t d, int64_t *low, int64_t *high)
{
    const int64_t length = extremes_length(in, room, d);
    int64_t lowest[TILE], spread[TILE];
    if (length < 0)
        return -1;
    const uint8_t *end = in + length, *second = in + packed_length(in, room, d);
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        in += unpack_tile(in, end - in, size, lowest, 0);
        second += unpack_tile(second, end - second, size, spread, 0);
        for (int j = 0; j < size; j++) {
            const int64_t highest = lowest[j] + spread[j];
            low[at + j] = lowest[j] < low[at + j] ? lowest[j] : low[at + j];
            high[at + j] = highest > high[at + j] ? highest : high[at + j];
        }
    }
    return length;
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
