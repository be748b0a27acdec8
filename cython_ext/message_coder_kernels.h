/* Messages of a uniform grid, shorter: the list of kernels. */
#ifndef MESSAGE_CODER_KERNELS_H
#define MESSAGE_CODER_KERNELS_H
#include <stdint.h>
#include "kernels.h"
#include "packed.h"
#include "scale.h"

/* A message as uniform_grid.h makes it: a scale, or none, and d codes. */
typedef struct {
    int64_t d;
    int scale_bytes; /* 0 or SCALE_BYTES */
    int bits;        /* of a code, 1 to 16 */
    int32_t centre;  /* the code that is most frequent: of zero */
    int coder;
} message_layout;

static inline int64_t message_bytes(const message_layout *m)
{
    return m->scale_bytes + packed_size(m->d, m->bits);
}

/* Most bytes of a shorter message: those of tiles, whose codes need no more bits, and of numbers where the last tile has
   FEW. */
static inline int64_t shorter_most(const message_layout *m)
{
    return message_bytes(m) + m->d / TILE + 1 + 3 * FEW;
}

#define MESSAGE_CODER_KERNELS(EACH) \
    EACH(int64_t, shorten, (const message_layout *, const uint8_t *, int32_t *, uint8_t *)) \
    EACH(int64_t, restore, (const message_layout *, const uint8_t *, int64_t, int32_t *, uint8_t *))

DECLARE_KERNELS(message_coder, MESSAGE_CODER_KERNELS)
#endif
