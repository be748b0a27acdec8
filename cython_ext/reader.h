/* Reading a packed vector tile by tile, whatever packed it. */
#ifndef READER_H
#define READER_H
#include "range_coder.h"
#include "rice.h"

/* tail: the last bytes, from ``tail_begin`` on, and zeros behind them, so that rice_decode reads within it. */
typedef struct {
    coded_header header;
    const uint8_t *in, *end, *tail_begin;
    range_decoder range;
    uint8_t tail[2 * RICE_MOST];
} packed_reader;

/* Begin with a vector of d values, in not more than the bytes ``available``; false if there is none. */
static int open_packed(packed_reader *from, const uint8_t *in, int64_t available, int64_t d)
{
    const int header = get_coded(in, available, d, &from->header);
    if (header < 0)
        return 0;
    from->in = in + header;
    from->end = header ? from->in + from->header.bytes : in + available;
    from->tail_begin = NULL;
    if (from->header.coder == RANGE)
        range_open(&from->range, from->in, from->end);
    return 1;
}

/* Where rice_decode may read as far as it does. */
static inline const uint8_t *rice_view(packed_reader *from)
{
    const int64_t left = from->end - from->in;
    if (left >= RICE_MOST)
        return from->in;
    if (!from->tail_begin) {
        from->tail_begin = from->in;
        memcpy(from->tail, from->in, (size_t)left);
        memset(from->tail + left, 0, sizeof from->tail - (size_t)left);
    }
    return from->tail + (from->in - from->tail_begin);
}

/* True if all bytes that the header told of were read. */
static int closes_packed(const packed_reader *from)
{
    return from->header.coder == TILES || from->in == from->end;
}
#endif
