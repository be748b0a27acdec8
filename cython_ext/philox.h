/* Philox 4x64-10 (Salmon, Moraes, Dror, Shaw, SC 2011): a counter-based generator. The words equal those of
   numpy.random.Philox(counter, key), which adds one to the counter before the first block. */
#ifndef PHILOX_H
#define PHILOX_H
#include <stdint.h>

static inline void philox(const uint64_t counter[4], const uint64_t key[2], uint64_t out[4])
{
    uint64_t c0 = counter[0] + 1, c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint64_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const unsigned __int128 p0 = (unsigned __int128)0xD2E7470EE14C6C93ULL * c0;
        const unsigned __int128 p1 = (unsigned __int128)0xCA5A826395121157ULL * c2;
        c0 = (uint64_t)(p1 >> 64) ^ c1 ^ k0;
        c1 = (uint64_t)p1;
        c2 = (uint64_t)(p0 >> 64) ^ c3 ^ k1;
        c3 = (uint64_t)p0;
        k0 += 0x9E3779B97F4A7C15ULL;
        k1 += 0xBB67AE8584CAA73BULL;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* floor(word * size / 2^64): uniform on 0..size-1 up to a bias of size / 2^64 (Lemire 2019). */
static inline int64_t below(uint64_t word, int64_t size)
{
    return (int64_t)(((unsigned __int128)word * (uint64_t)size) >> 64);
}
#endif
