/* The k coordinates of largest magnitude: values, then indices in as few bits as they need. */
#ifndef TOP_K_H
#define TOP_K_H
#include <math.h>
#include <string.h>
#include "sparse.h"

typedef struct {
    double k;
} top_k;

/* Bits of an index below d. */
static inline int index_bits(int64_t d)
{
    return d > 1 ? 64 - __builtin_clzll((uint64_t)(d - 1)) : 0;
}

static int64_t top_k_nbytes(const void *parameters, int64_t d)
{
    const top_k *t = parameters;
    const int64_t k = sparse_count(t->k, d);
    return SCALE_BYTES + 4 * k + packed_size(k, index_bits(d));
}

/* |x| as an integer of the same order. */
static inline uint64_t order_of_magnitude(double x)
{
    const double a = fabs(x);
    uint64_t u;
    memcpy(&u, &a, 8);
    return u;
}

/* The coordinates of largest magnitude: those whose order, without its last ``shift`` bits, is above ``threshold``, and
   the first ``ties`` of those where it is equal. */
typedef struct {
    uint64_t threshold;
    int64_t ties, next;
    int shift;
} selection;

/* A radix selection: 11 bits of the threshold are found in each pass over the vector, whose largest value tells where
   to begin. */
static selection select_largest(const real *x, int64_t d, int64_t k, double largest)
{
    const uint64_t highest = order_of_magnitude(largest);
    uint64_t threshold = 0;
    int64_t wanted = k; /* of the values that begin with the threshold */
    int shift = 63;
    while (shift > 0) {
        const int digit = shift < 11 ? shift : 11;
        const uint64_t mask = (1u << digit) - 1;
        uint32_t count[2048] = {0};
        for (int64_t j = 0; j < d; j++) {
            const uint64_t u = order_of_magnitude(x[j]);
            if (u >> shift == threshold)
                count[u >> (shift - digit) & mask]++;
        }
        uint64_t top = highest >> shift == threshold ? highest >> (shift - digit) & mask : mask;
        while (wanted > count[top])
            wanted -= count[top--];
        shift -= digit;
        threshold = threshold << digit | top;
        if (wanted == count[top])
            break; /* all of them: no more to be decided */
    }
    return (selection){threshold, wanted, 0, shift};
}

/* The next of them in ascending order, at most a tile; returns how many. */
static inline int next_largest(selection *s, const real *x, int64_t d, uint32_t index[TILE])
{
    const uint64_t threshold = s->threshold;
    const int shift = s->shift;
    int64_t j = s->next, ties = s->ties;
    int count = 0;
    for (; j < d && count < TILE; j++) {
        const uint64_t u = order_of_magnitude(x[j]) >> shift;
        if (u > threshold || (u == threshold && ties-- > 0))
            index[count++] = (uint32_t)j;
    }
    s->next = j, s->ties = ties;
    return count;
}

static int top_k_encode(const void *parameters, const void *x, int64_t d, const uint64_t *key, uint8_t *out)
{
    const top_k *t = parameters;
    const int64_t k = sparse_count(t->k, d);
    const int bits = index_bits(d);
    uint8_t *indices = out + SCALE_BYTES + 4 * k;
    uint32_t index[TILE];
    const double largest = magnitude(x, d, LARGEST);
    (void)key;
    if (!(largest < BEYOND))
        return -1;
    const double unit = sparse_unit(largest, out);
    selection s = select_largest(x, d, k, largest);
    int count;
    for (int64_t sent = 0; (count = next_largest(&s, x, d, index)); sent += count) {
        gather(x, index, count, unit, sent, out);
        pack_words(index, indices + packed_size(sent, bits), count, bits);
    }
    return 0;
}

/* Values ``first`` .. of a message with ``indices``, at most a tile. Not inlined: the compiler would prepare for many
   tiles, and most messages have one. */
static __attribute__((noinline)) void read_tile(const uint8_t *message, const uint8_t *indices, int bits, int64_t first,
                                                int count, real *x, int64_t d)
{
    uint32_t index[TILE];
    unpack_words(indices + packed_size(first, bits), index, count, bits);
    scatter(message, first, index, count, 1.0, x, d);
}

static void top_k_decode(const void *parameters, const uint8_t *in, int64_t d, const uint64_t *key, void *x)
{
    const top_k *t = parameters;
    const int64_t k = sparse_count(t->k, d);
    const int bits = index_bits(d);
    const uint8_t *indices = in + SCALE_BYTES + 4 * k;
    (void)key;
    memset(x, 0, (size_t)d * sizeof(real));
    for (int64_t first = 0; first < k; first += TILE)
        read_tile(in, indices, bits, first, k - first < TILE ? (int)(k - first) : TILE, x, d);
}
#endif
