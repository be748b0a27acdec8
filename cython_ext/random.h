/* Random words: streams of them that follow from a key, and the numbers that they stand for. */
#ifndef RANDOM_H
#define RANDOM_H
#include <stdint.h>
#include <string.h>

/* Word j of the stream with key (low, high): a bijective hash of the counter (multiply-xorshift, constants of the hash
   "lowbias32" by C. Wellons). The upper half of the key enters between the rounds, so that streams with different
   upper halves are not shifted copies of each other. Keys are hashes themselves (Philox, block_key): keys that differ
   in a single upper bit would give streams that are correlated. Ours; tests/test_random_words.py has the statistics. */
#define STRIDE 0x9E3779B1u

static inline uint32_t mixed(uint32_t h, uint32_t upper_key)
{
    h ^= h >> 16;
    h *= 0x7FEB352Du;
    h ^= upper_key;
    h ^= h >> 15;
    h *= 0x846CA68Bu;
    return h ^ h >> 16;
}

static inline uint32_t word(uint32_t counter, uint64_t key)
{
    return mixed(counter * STRIDE + (uint32_t)key, (uint32_t)(key >> 32));
}

/* Words first and first + 1 of a stream as one of 64 bits. */
static inline uint64_t two_words(uint32_t first, uint64_t key)
{
    return word(first, key) | (uint64_t)word(first + 1, key) << 32;
}

/* Words first, first + 1, ... of a stream; zeros without a key. */
static inline void random_words(uint32_t *words, uint32_t first, const uint64_t *key, int size)
{
    if (!key) {
        memset(words, 0, (size_t)size * sizeof(uint32_t));
        return;
    }
    const uint32_t upper = (uint32_t)(*key >> 32);
    uint32_t h = first * STRIDE + (uint32_t)*key;
    for (int j = 0; j < size; j++, h += STRIDE)
        words[j] = mixed(h, upper);
}

/* Half a word is enough for a few levels: the stream as numbers of 16 bits, the lower half of a word first. */
typedef int16_t half_word __attribute__((may_alias));

/* random * unit + y, unit a power of two: the product is exact, so that both ways round alike. */
static inline float add_exact(int16_t random, float unit, float y)
{
#ifdef __FMA__
    return __builtin_fmaf((float)random, unit, y);
#else
    return (float)random * unit + y;
#endif
}

/* A word as a number in [-1/2, 1/2), the word 0 as 0: signed, because that conversion is in every processor. */
static inline double centred(uint32_t random)
{
    return 0x1p-32 * (double)(int32_t)random;
}

/* The key of block b of a message (the finaliser of splitmix64 by Steele, Lea, Flood). */
static inline uint64_t block_key(uint64_t key, uint64_t block)
{
    uint64_t z = key + (block + 1) * 0x9E3779B97F4A7C15ULL;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return z ^ z >> 31;
}
#endif
