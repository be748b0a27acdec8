/* Sums of one-bit messages. */
#ifndef VOTES_H
#define VOTES_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t bits512 __attribute__((vector_size(64)));

static inline bits512 load_bits(const uint8_t *from, size_t bytes)
{
    bits512 v = {0};
    if (bytes == 64)
        memcpy(&v, from, 64); /* of a constant size: one instruction */
    else
        memcpy(&v, from, bytes);
    return v;
}

/* Adds to counts of 512 coordinates, of which plane p has bit p, from bit ``p`` on: a few operations for all of them. */
static inline void carry_up(bits512 *planes, bits512 carry, int p, int last)
{
    for (; p < last; p++) {
        const bits512 both = planes[p] & carry;
        planes[p] ^= carry;
        carry = both;
    }
}

/* The bits of a word as an 8 x 8 matrix, transposed: bit j of byte p becomes bit p of byte j (Hacker's Delight). */
static inline uint64_t transpose(uint64_t x)
{
    uint64_t t = (x ^ x >> 7) & 0x00AA00AA00AA00AAULL;
    x ^= t ^ t << 7;
    t = (x ^ x >> 14) & 0x0000CCCC0000CCCCULL;
    x ^= t ^ t << 14;
    t = (x ^ x >> 28) & 0x00000000F0F0F0F0ULL;
    return x ^ t ^ t << 28;
}

/* Bits 8 q to 8 q + 7 of the counts, a byte each, from the planes. */
static inline void spread_planes(const bits512 *planes, uint8_t bytes[512])
{
    uint8_t plane[8][64];
    memcpy(plane, planes, sizeof plane);
    for (int g = 0; g < 64; g++) {
        uint64_t x = 0;
        for (int p = 0; p < 8; p++)
            x |= (uint64_t)plane[p][g] << 8 * p;
        x = transpose(x);
        memcpy(bytes + 8 * g, &x, 8);
    }
}

#define ABREAST 8 /* blocks of 512 coordinates: messages are read in pieces of 512 bytes */

/* The counts of at most 512 coordinates from their planes. */
static inline void write_counts(const bits512 *planes, int last, int size, int32_t *counts)
{
    uint8_t parts[3][512] = {{0}};
    for (int q = 0; q < 3 && 8 * q < last; q++)
        spread_planes(planes + 8 * q, parts[q]);
    for (int j = 0; j < size; j++)
        counts[j] = parts[0][j] | parts[1][j] << 8 | parts[2][j] << 16;
}

/* counts_j = number of messages whose bit j is set. messages: n < 2^24 rows, ``stride`` bytes apart, of (d + 7) / 8
   bytes. */
static void count_votes(const uint8_t *messages, int64_t n, int64_t stride, int64_t d, int32_t *counts)
{
    const int64_t total = (d + 7) / 8;
    int last = 0;
    while (n >> last)
        last++;
    for (int64_t start = 0; start < total; start += 64 * ABREAST) {
        bits512 planes[ABREAST][24] = {{{0}}};
        for (int64_t i = 0; i < n; i += 2)
            for (int b = 0; b < ABREAST && start + 64 * b < total; b++) {
                const int64_t at = start + 64 * b;
                const size_t bytes = total - at < 64 ? (size_t)(total - at) : 64;
                const uint8_t *m = messages + i * stride + at;
                const bits512 one = load_bits(m, bytes), two = i + 1 < n ? load_bits(m + stride, bytes) : (bits512){0};
                /* two messages and plane 0 make plane 0 and one carry */
                const bits512 odd = planes[b][0] ^ one;
                const bits512 carry = (planes[b][0] & one) | (odd & two);
                planes[b][0] = odd ^ two;
                carry_up(planes[b], carry, 1, last);
            }
        for (int b = 0; b < ABREAST && start + 64 * b < total; b++) {
            const int64_t first = 8 * (start + 64 * b);
            write_counts(planes[b], last, d - first < 512 ? (int)(d - first) : 512, counts + first);
        }
    }
}
#endif
