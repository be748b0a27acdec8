/* k coordinates chosen by the message's key, which receivers know: values without indices. */
#ifndef RANDOM_K_H
#define RANDOM_K_H
#include "random.h"
#include "sparse.h"

typedef struct {
    double k;
} random_k;

static int64_t random_k_nbytes(const void *parameters, int64_t d)
{
    const random_k *r = parameters;
    return SCALE_BYTES + 4 * sparse_count(r->k, d);
}

/* k of 0 .. d-1 without replacement, ascending, every subset with the same probability (Knuth's algorithm S). */
typedef struct {
    uint64_t key;
    int64_t d, next, left;
} choice;

static inline choice choice_of(const random_k *r, int64_t d, const uint64_t *key)
{
    return (choice){*key, d, 0, sparse_count(r->k, d)};
}

/* The next of them, at most a tile; returns how many. */
static inline int choose(choice *c, uint32_t index[TILE])
{
    const uint64_t key = c->key;
    int64_t j = c->next, left = c->left;
    int count = 0;
    for (; left > 0 && count < TILE; j++)
        if ((word((uint32_t)j, key) * (uint64_t)(c->d - j)) >> 32 < (uint64_t)left) {
            index[count++] = (uint32_t)j;
            left--;
        }
    c->next = j, c->left = left;
    return count;
}

static int random_k_encode(const void *parameters, const void *x, int64_t d, const uint64_t *key, uint8_t *out)
{
    const double largest = magnitude(x, d, LARGEST);
    if (!(largest < BEYOND))
        return -1;
    const double unit = sparse_unit(largest, out);
    choice c = choice_of(parameters, d, key);
    uint32_t index[TILE];
    int count;
    for (int64_t sent = 0; (count = choose(&c, index)); sent += count)
        gather(x, index, count, unit, sent, out);
    return 0;
}

/* Values times d/k, which makes them unbiased. */
static void random_k_decode(const void *parameters, const uint8_t *in, int64_t d, const uint64_t *key, void *x)
{
    choice c = choice_of(parameters, d, key);
    uint32_t index[TILE];
    const double factor = (double)d / (double)c.left;
    memset(x, 0, (size_t)d * sizeof(real));
    int count;
    for (int64_t read = 0; (count = choose(&c, index)); read += count)
        scatter(in, read, index, count, factor, x, d);
}
#endif
