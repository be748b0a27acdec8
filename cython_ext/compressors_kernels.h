/* Between vectors and messages: the list of kernels. Wire formats have a list of their own in compressors_kernels.c, and
   are found by name. */
#ifndef COMPRESSORS_KERNELS_H
#define COMPRESSORS_KERNELS_H
#include <stdint.h>
#include "kernels.h"
#include "wire_format.h"

#define COMPRESSORS_KERNELS(EACH) \
    EACH(const wire_format *, find_wire_format, (const char *)) \
    EACH(int, all_finite, (const void *, int64_t)) \
    EACH(void, hadamard, (void *, unsigned)) \
    EACH(void, rotate, (const void *, int64_t, unsigned, uint64_t, void *)) \
    EACH(void, rotate_back, (void *, int64_t, unsigned, uint64_t, void *)) \
    EACH(void, signs_decode_mean, (const void *, const uint8_t *, int64_t, int64_t, int64_t, int32_t *, void *)) \
    EACH(void, count_votes, (const uint8_t *, int64_t, int64_t, int64_t, int32_t *)) \
    EACH(void, pack_words, (const uint32_t *, uint8_t *, int64_t, int)) \
    EACH(void, unpack_words, (const uint8_t *, uint32_t *, int64_t, int))

DECLARE_REAL_KERNELS(compressors, COMPRESSORS_KERNELS)
#endif
