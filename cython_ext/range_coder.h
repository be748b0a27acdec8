/* An adaptive binary range coder for integers.

   Whether v is 0 is a binary decision, its sign a raw bit; whether |v| > l is a decision for each l = 1 .. RANGE_UNARY - 1
   in turn, until it is not. What is beyond, x = |v| - RANGE_UNARY + 1 >= 1, is in Elias's gamma code: how many bits it
   has beyond the first by decisions again, and these bits raw. Each decision has a probability of its own, which is that
   of Krichevsky and Trofimov, (ones + 1/2)/(ones + zeros + 1), until RANGE_MEMORY of them, and then forgets.

   Range coding with a carry: Martin (1979); a carry waits in bytes 255 that are not written yet, as in Pavlov's LZMA.
   Of the 32 bits of the range no more than 24 get lost before they are extended. The first byte is always 0 and is not
   written, nor are zeros at the end: the decoder reads zeros there. */
#ifndef RANGE_CODER_H
#define RANGE_CODER_H
#include "packed.h"

#define RANGE_UNARY 12
#define RANGE_MEMORY 8192
#define RANGE_LEAST (1u << 24)
#define RANGE_LONGEST 62 /* bits of x beyond the first, |v| <= 2^63 */

/* A decision: probability of a one in units of 2^-32, and how often it was met. */
typedef struct {
    uint32_t one, met;
} range_context;

typedef struct {
    range_context above[RANGE_UNARY], longer[RANGE_LONGEST];
} range_model;

static inline void range_begin(range_model *model)
{
    for (int l = 0; l < RANGE_UNARY; l++)
        model->above[l] = (range_context){1u << 31, 0};
    for (int l = 0; l < RANGE_LONGEST; l++)
        model->longer[l] = (range_context){1u << 31, 0};
}

/* The part of a range that is for a one: at least 2^8 of 2^24, and so much is left for a zero. */
static inline uint32_t range_of_one(uint32_t range, const range_context *context)
{
    const uint32_t one = context->one >> 16;
    return (range >> 16) * (one < 1 ? 1 : one);
}

static inline void range_learn(range_context *context, int bit)
{
    const uint32_t rate = UINT32_MAX / (context->met + 2);
    if (bit)
        context->one += (uint32_t)((uint64_t)(UINT32_MAX - context->one) * rate >> 32);
    else
        context->one -= (uint32_t)((uint64_t)context->one * rate >> 32);
    context->met += context->met < RANGE_MEMORY;
}

typedef struct {
    range_model model;
    uint64_t low;
    uint32_t range;
    uint8_t waiting;    /* the last byte that a carry may change */
    int64_t full;       /* bytes 255 behind it */
    int begun;          /* the waiting byte is not the first */
    int64_t size, most; /* bytes so far, also if there was no place for them, and the place */
    uint8_t *out;
} range_encoder;

static void range_start(range_encoder *to, uint8_t *out, int64_t most)
{
    range_begin(&to->model);
    to->low = 0;
    to->range = UINT32_MAX;
    to->waiting = 0;
    to->full = to->begun = 0;
    to->size = 0;
    to->most = most;
    to->out = out;
}

static inline void range_write(range_encoder *to, uint8_t byte)
{
    if (to->size < to->most)
        to->out[to->size] = byte;
    to->size++;
}

/* The upper byte of low leaves. */
static void range_shift(range_encoder *to)
{
    if (to->low < 0xFF000000u || to->low >> 32) {
        const uint8_t carry = (uint8_t)(to->low >> 32);
        if (to->begun)
            range_write(to, (uint8_t)(to->waiting + carry));
        for (; to->full; to->full--)
            range_write(to, (uint8_t)(255 + carry));
        to->waiting = (uint8_t)(to->low >> 24);
        to->begun = 1;
    } else {
        to->full++;
    }
    to->low = (to->low & 0x00FFFFFFu) << 8;
}

static inline void range_encode(range_encoder *to, range_context *context, int bit)
{
    const uint32_t one = range_of_one(to->range, context);
    if (bit) {
        to->range = one;
    } else {
        to->low += one;
        to->range -= one;
    }
    range_learn(context, bit);
    for (; to->range < RANGE_LEAST; to->range <<= 8)
        range_shift(to);
}

static inline void range_encode_raw(range_encoder *to, uint64_t bits, int count)
{
    while (count--) {
        to->range >>= 1;
        to->low += bits >> count & 1 ? to->range : 0;
        for (; to->range < RANGE_LEAST; to->range <<= 8)
            range_shift(to);
    }
}

static void range_encode_value(range_encoder *to, int64_t v)
{
    const uint64_t size = v < 0 ? -(uint64_t)v : (uint64_t)v;
    for (uint64_t l = 0; l < RANGE_UNARY; l++) {
        range_encode(to, &to->model.above[l], size > l);
        if (size <= l)
            break;
        if (l == 0)
            range_encode_raw(to, v < 0, 1);
    }
    if (size < RANGE_UNARY)
        return;
    const uint64_t beyond = size - RANGE_UNARY + 1;
    const int more = width_of(beyond) - 1;
    for (int l = 0; l < RANGE_LONGEST; l++) {
        range_encode(to, &to->model.longer[l], l < more);
        if (l == more)
            break;
    }
    range_encode_raw(to, beyond, more);
}

/* Of the numbers that stand for what was encoded the one with most zeros at its end, without these, but at least a byte. */
static void range_end(range_encoder *to)
{
    const uint64_t last = to->low + to->range - 1;
    for (int zeros = 32; zeros >= 0; zeros -= 8) {
        const uint64_t rounded = last >> zeros << zeros;
        if (rounded >= to->low) {
            to->low = rounded;
            break;
        }
    }
    for (int byte = 0; byte < 5; byte++)
        range_shift(to);
    while (to->size > 1 && to->size <= to->most && to->out[to->size - 1] == 0)
        to->size--;
}

typedef struct {
    range_model model;
    uint32_t range, code; /* code: what was read, less low */
    const uint8_t *in, *end;
    int64_t beyond; /* zeros read behind the end */
} range_decoder;

static inline uint32_t range_read(range_decoder *from)
{
    if (from->in < from->end)
        return *from->in++;
    from->beyond++;
    return 0;
}

static void range_open(range_decoder *from, const uint8_t *in, const uint8_t *end)
{
    range_begin(&from->model);
    from->range = UINT32_MAX;
    from->in = in;
    from->end = end;
    from->code = 0;
    from->beyond = 0;
    for (int byte = 0; byte < 4; byte++)
        from->code = from->code << 8 | range_read(from);
}

static inline void range_extend(range_decoder *from)
{
    for (; from->range < RANGE_LEAST; from->range <<= 8)
        from->code = from->code << 8 | range_read(from);
}

static inline int range_decode(range_decoder *from, range_context *context)
{
    const uint32_t one = range_of_one(from->range, context);
    const int bit = from->code < one;
    if (bit) {
        from->range = one;
    } else {
        from->code -= one;
        from->range -= one;
    }
    range_learn(context, bit);
    range_extend(from);
    return bit;
}

static inline uint64_t range_decode_raw(range_decoder *from, int count)
{
    uint64_t bits = 0;
    while (count--) {
        from->range >>= 1;
        const int bit = from->code >= from->range;
        from->code -= bit ? from->range : 0;
        bits = bits << 1 | (uint64_t)bit;
        range_extend(from);
    }
    return bits;
}

/* A code, as of packed.h, whatever the bytes are: what is too large for one becomes the largest. */
static uint64_t range_decode_code(range_decoder *from)
{
    uint64_t size = 0;
    int negative = 0;
    while (size < RANGE_UNARY && range_decode(from, &from->model.above[size])) {
        if (size == 0)
            negative = (int)range_decode_raw(from, 1);
        size++;
    }
    if (size == RANGE_UNARY) {
        int more = 0;
        while (more < RANGE_LONGEST && range_decode(from, &from->model.longer[more]))
            more++;
        size += (1ULL << more | range_decode_raw(from, more)) - 1;
    }
    return size > INT64_MAX ? UINT64_MAX : 2 * size - (uint64_t)negative;
}
#endif
