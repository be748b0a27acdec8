/* Golomb-Rice codes of tiles of RICE_TILE values, by planes of bits.

   A tile of n values is a byte with a parameter k (RICE_ZEROS: all are 0, that is all), and then a stream of bits. Of a code c (packed.h), c mod 2^k is in k
   planes of n bits each, the lowest first. q = c / 2^k is unary, by levels: n bits say which q are above 0, as many
   bits as these are say which of them are above 1, and so on, until none is or after RICE_LEVELS levels. That is as long
   as unary codes one after the other, q + 1 bits each, but a word of 64 bits is written and read at once. Of codes that
   are above all levels q - RICE_LEVELS follows as a number, from the next whole byte on. */
#ifndef RICE_H
#define RICE_H
#include "packed.h"
#include "planes.h"

#define RICE_TILE 128
#define RICE_LEVELS 16
#define RICE_AT_ONCE 4 /* levels between two looks whether more are needed: a branch that is seldom guessed wrong */
#define RICE_PARAMETERS 64 /* k is below */
#define RICE_ZEROS RICE_PARAMETERS /* instead of k, of a tile of zeros: nothing follows */
/* Bytes from the begin of a tile on that writing it may change. */
#define RICE_BEHIND (1 + RICE_TILE / 8 * (RICE_PARAMETERS + RICE_LEVELS) + RICE_TILE + 8)
_Static_assert(RICE_BEHIND <= WRITTEN_BEHIND, "buffers of packed vectors are too short");

/* Bytes that reading the planes and levels of a tile may look at. */
#define RICE_MOST (1 + RICE_TILE / 8 * (RICE_PARAMETERS - 1 + RICE_LEVELS) + 24)

/* Codes of a tile: bytes if all are below 256, which takes less time, or else words. Bytes are zeros beyond the tile. */
typedef struct {
    int size, are_bytes;
    uint64_t all; /* of codes to write, one over the other */
    _Alignas(64) uint8_t bytes[RICE_TILE];
    uint64_t words[RICE_TILE];
} rice_codes;

/* Ones for the values of a tile, in two words. */
static inline void rice_all(int size, uint64_t ones[2])
{
    ones[0] = size < 64 ? (1ULL << size) - 1 : UINT64_MAX;
    ones[1] = size <= 64 ? 0 : size < 128 ? (1ULL << (size - 64)) - 1 : UINT64_MAX;
}

/* A stream that is written: bits of a word that is not full yet. */
typedef struct {
    uint8_t *out;
    uint64_t pending;
    int filled;
} rice_stream;

/* Write the lowest ``count`` <= 64 bits of a word, above which it is 0; the 8 bytes that they begin in change. Without
   branches: they would be guessed wrong half of the time. */
static inline void rice_put(rice_stream *to, uint64_t bits, int count)
{
    const uint64_t word = to->pending | bits << to->filled, rest = bits >> 1 >> (63 - to->filled);
    const int filled = to->filled + count, full = filled >= 64;
    memcpy(to->out, &word, 8);
    to->out += 8 * full;
    to->pending = full ? rest : word;
    to->filled = filled & 63;
}

/* 64 bits from bit ``at`` on; 9 bytes are read. */
static inline uint64_t rice_get(const uint8_t *stream, uint64_t at)
{
    uint64_t word;
    memcpy(&word, stream + at / 8, 8);
    return word >> at % 8 | (uint64_t)stream[at / 8 + 8] << 1 << (63 - at % 8);
}

/* Bits of a tile with a parameter, but for the byte; codes above all levels are numbers. */
static int64_t rice_bits(const rice_codes *codes, int k)
{
    int64_t bits = (int64_t)codes->size * k, numbers = 0;
    for (int j = 0; j < codes->size; j++) {
        const uint64_t q = codes->words[j] >> k;
        if (q < RICE_LEVELS) {
            bits += (int64_t)q + 1;
        } else {
            bits += RICE_LEVELS;
            numbers += number_size(q - RICE_LEVELS);
        }
    }
    return (bits + 7) / 8 * 8 + 8 * numbers;
}

/* The best parameter: the smallest of those with fewest bits. */
static int rice_search(const rice_codes *codes)
{
    int best = 0;
    int64_t least = INT64_MAX;
    for (int k = 0; k < RICE_PARAMETERS && (int64_t)codes->size * (k + 1) < least; k++) {
        const int64_t bits = rice_bits(codes, k);
        if (bits < least) {
            least = bits;
            best = k;
        }
    }
    return best;
}

/* q of all codes, as bytes: RICE_LEVELS is for all that are above. Codes that are bytes have none. */
static inline void rice_quotients(const rice_codes *codes, int k, uint8_t q[RICE_TILE])
{
    if (codes->are_bytes)
        for (int j = 0; j < RICE_TILE; j += VECTOR)
            *(unsigned_longs *)(q + j) =
                *(const unsigned_longs *)(codes->bytes + j) >> k & (0xFFULL >> k) * 0x0101010101010101ULL;
    else
        for (int j = 0; j < RICE_TILE; j++) {
            const uint64_t own = j < codes->size ? codes->words[j] >> k : 0;
            q[j] = own < RICE_LEVELS ? (uint8_t)own : RICE_LEVELS;
        }
}

/* Planes from ``first`` on, up to 8 of them and below ``width``, of bits of codes, of which bytes are these bits: 16 bytes
   and a count of ones for each. */
static inline void rice_planes(const uint8_t *bytes, int first, int width, uint8_t *planes, int *counts)
{
    for (int p = 0; p < 8 && first + p < width; p++) {
        const uint64_t plane[2] = {bit_plane(bytes, p), bit_plane(bytes + 64, p)};
        counts[first + p] = __builtin_popcountll(plane[0]) + __builtin_popcountll(plane[1]);
        memcpy(planes + 16 * (first + p), &plane[0], 8);
        memcpy(planes + 16 * (first + p) + 8, &plane[1], 8);
    }
}

/* The same of all bits, and how many planes these are. */
static inline int rice_all_planes(const rice_codes *codes, uint8_t *planes, int *counts)
{
    _Alignas(64) uint8_t bytes[RICE_TILE] = {0};
    const int width = width_of(codes->all);
    if (codes->are_bytes) {
        rice_planes(codes->bytes, 0, width, planes, counts);
        return width;
    }
    for (int first = 0; first < width; first += 8) {
        for (int j = 0; j < codes->size; j++)
            bytes[j] = (uint8_t)(codes->words[j] >> first);
        rice_planes(bytes, first, width, planes, counts);
    }
    return width;
}

/* Write the codes of a tile; bytes written, at most (65 n + 15) / 8. Behind them bytes change, too: RICE_BEHIND of
   those from the begin of the tile on. The best parameter without numbers is the smallest k with sum(ceil(q/2)) <= n:
   going to k from k + 1 costs sum(floor(c/2^k)) - sum(floor(c/2^(k + 1))) bits more and n less. Where it takes numbers,
   all are tried. */
static int64_t rice_encode(rice_codes *codes, uint8_t *out)
{
    const int size = codes->size;
    _Alignas(64) uint8_t q[RICE_TILE], apart[16 * RICE_PARAMETERS];
    uint8_t *const planes = size == RICE_TILE ? out + 1 : apart;
    uint64_t alive[2];
    int counts[RICE_PARAMETERS + 4] = {0};
    const int width = rice_all_planes(codes, planes, counts);
    int k = width, sum = 0, above = 0; /* sum of floor(c/2^k) */
    for (; k && sum + counts[k - 1] <= size; k--)
        sum = 2 * sum + counts[k - 1];
    for (int p = k + 4; p < width; p++)
        above |= counts[p];
    if (above) {
        for (int j = 0; j < size && codes->are_bytes; j++)
            codes->words[j] = codes->bytes[j];
        codes->are_bytes = 0;
        k = rice_search(codes);
    }
    *out = (uint8_t)k;
    if (k == 0 && sum == 0) {
        *out = RICE_ZEROS;
        return 1;
    }
    rice_stream to = {out + 1 + (size == RICE_TILE ? 16 * k : 0), 0, 0};
    rice_all(size, alive);
    for (int p = 0; p < k && size < RICE_TILE; p++)
        for (int half = 0; half < 2; half++) {
            uint64_t plane;
            memcpy(&plane, planes + 16 * p + 8 * half, 8);
            rice_put(&to, plane, __builtin_popcountll(alive[half]));
        }
    rice_quotients(codes, k, q);
    for (int level = 0; level < RICE_LEVELS && (alive[0] | alive[1]); level += RICE_AT_ONCE)
        for (int l = level; l < level + RICE_AT_ONCE; l++)
            for (int half = 0; half < 2; half++) {
                const uint64_t higher = plane_above(q + 64 * half, l);
                rice_put(&to, gather_bits(higher, alive[half]), __builtin_popcountll(alive[half]));
                alive[half] = higher;
            }
    memcpy(to.out, &to.pending, 8);
    int64_t bytes = to.out - out + (to.filled + 7) / 8;
    if (above)
        for (int j = 0; j < size; j++)
            if (codes->words[j] >> k >= RICE_LEVELS)
                bytes += put_number((codes->words[j] >> k) - RICE_LEVELS, out + bytes);
    return bytes;
}

/* Bits ``first`` to first + 7 of the codes, of which k are in planes. */
static inline void rice_low_bits(const uint8_t *stream, int size, int k, int first, uint8_t bytes[RICE_TILE])
{
    uint64_t ones[2];
    rice_all(size, ones);
    memset(bytes, 0, RICE_TILE);
    for (int p = 0; p < 8 && first + p < k; p++)
        for (int half = 0; half < 2; half++)
            add_where(bytes + 64 * half, rice_get(stream, (uint64_t)(size * (first + p) + 64 * half)) & ones[half],
                      (uint8_t)(1 << p));
}

/* Read the codes of a tile of codes->size values; bytes read, or -1 if they are not such or beyond what is
   ``available``. Up to RICE_MOST bytes are looked at. */
static int64_t rice_decode(const uint8_t *in, int64_t available, rice_codes *codes)
{
    const int size = codes->size, k = *in;
    const uint8_t *const stream = in + 1;
    uint64_t alive[2];
    _Alignas(64) uint8_t q[RICE_TILE] = {0};
    uint64_t at = (uint64_t)(size * k); /* unsigned, so that at / 8 is a shift */
    int level = 0;
    if (k >= RICE_PARAMETERS) {
        codes->are_bytes = 1;
        memset(codes->bytes, 0, RICE_TILE);
        return k == RICE_ZEROS && available ? 1 : -1;
    }
    for (rice_all(size, alive); level < RICE_LEVELS && (alive[0] | alive[1]); level += RICE_AT_ONCE)
        for (int l = 0; l < RICE_AT_ONCE; l++)
            for (int half = 0; half < 2; half++) {
                const uint64_t higher = scatter_bits(rice_get(stream, at), alive[half]);
                at += (uint64_t)__builtin_popcountll(alive[half]);
                add_where(q + 64 * half, higher, 1);
                alive[half] = higher;
            }
    int64_t bytes = 1 + (int64_t)((at + 7) / 8);
    rice_low_bits(stream, size, k, 0, codes->bytes);
    codes->are_bytes = k < 8 && level << k <= 256 && !(alive[0] | alive[1]);
    if (codes->are_bytes) {
        for (int j = 0; j < RICE_TILE; j += VECTOR)
            *(unsigned_longs *)(codes->bytes + j) += *(const unsigned_longs *)(q + j) << k;
        return bytes <= available ? bytes : -1;
    }
    for (int j = 0; j < size; j++)
        codes->words[j] = codes->bytes[j] + ((uint64_t)q[j] << k);
    for (int first = 8; first < k; first += 8) {
        rice_low_bits(stream, size, k, first, codes->bytes);
        for (int j = 0; j < size; j++)
            codes->words[j] += (uint64_t)codes->bytes[j] << first;
    }
    for (int half = 0; half < 2; half++)
        for (; alive[half]; alive[half] &= alive[half] - 1) {
            uint64_t more;
            const int read = bytes <= available ? get_number(in + bytes, available - bytes, &more) : -1;
            if (read < 0)
                return -1;
            codes->words[64 * half + __builtin_ctzll(alive[half])] += more << k;
            bytes += read;
        }
    return bytes <= available ? bytes : -1;
}
#endif
