/* Vectors of integers in as few bits as they need: the format.

   A packed vector of more than FEW values may be the work of a coder, where that is shorter: then its first byte is
   64 (coder + 1) + the width of its widest code, or 63 if that is 64; a number of bytes; and these bytes: rice.h,
   range_coder.h. Or else it is tiles of TILE values: one byte with a width, then codes of that width, 2v for v >= 0 and -2v - 1
   for v < 0. Widths are 0 to 32, and 64 for what is larger. A tile of no more than FEW values is just numbers. Of a
   tile every full BLOCK of codes is in LANES streams of words of 32 bits side by side, code j in stream j % LANES, so
   that a vector register packs LANES codes at once; the rest is one stream (codes.h). Streams side by side: Lemire,
   Boytsov, "Decoding billions of integers per second through vectorization" (2015). */
#ifndef PACKED_H
#define PACKED_H
#include "codes.h"

#define WIDEST 32
#define LANES 8
#define BLOCK (32 * LANES)
#define FEW 2

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t signed_lanes __attribute__((vector_size(4 * LANES)));

static inline int tile_size(int64_t d, int64_t at)
{
    return (int)(d - at < TILE ? d - at : TILE);
}

/* How many bits a code needs. */
static inline int width_of(uint64_t code)
{
    return code ? 64 - __builtin_clzll(code) : 0;
}

static inline int64_t unfolded(uint64_t code)
{
    return (int64_t)(code >> 1) ^ -(int64_t)(code & 1);
}

/* Numbers in groups of 7 bits, the upper bit of a byte says that there is more: at most NUMBER_MOST bytes. */
#define NUMBER_MOST 10

static inline int put_number(uint64_t v, uint8_t *out)
{
    int bytes = 0;
    for (; v > 127; v >>= 7)
        out[bytes++] = (uint8_t)(v | 128);
    out[bytes++] = (uint8_t)v;
    return bytes;
}

/* Bytes of a number. */
static inline int number_size(uint64_t v)
{
    return (63 - __builtin_clzll(v | 1)) / 7 + 1;
}

/* Bytes read; -1 if there is no number. */
static inline int get_number(const uint8_t *in, int64_t available, uint64_t *v)
{
    *v = 0;
    for (int bytes = 0; bytes < available && bytes < NUMBER_MOST; bytes++) {
        *v |= (uint64_t)(in[bytes] & 127) << 7 * bytes;
        if (in[bytes] < 128)
            return bytes + 1;
    }
    return -1;
}

/* Coders: what a vector may be packed by. */
enum { TILES, RICE, RANGE, CODERS };

/* What a packed vector says first: by which coder, the width of its widest code, and the bytes that follow. */
typedef struct {
    int coder, width;
    int64_t bytes;
} coded_header;

/* Most bytes of such a header. */
#define CODED_MOST (1 + NUMBER_MOST)

static inline int put_coded(coded_header h, uint8_t *out)
{
    *out = (uint8_t)(64 * (h.coder + 1) + (h.width < 64 ? h.width : 63));
    return 1 + put_number((uint64_t)h.bytes, out + 1);
}

/* Bytes read: 0 if there are tiles; -1 if there is no header or fewer bytes than it says. */
static inline int get_coded(const uint8_t *in, int64_t available, int64_t d, coded_header *h)
{
    uint64_t bytes;
    *h = (coded_header){.coder = TILES};
    if (d <= FEW || available < 1 || *in < 64 * (RICE + 1))
        return 0;
    const int number = get_number(in + 1, available - 1, &bytes);
    if (number < 0 || bytes < 1 || bytes > (uint64_t)(available - 1 - number))
        return -1;
    *h = (coded_header){*in / 64 - 1, *in % 64, (int64_t)bytes};
    return 1 + number;
}

/* Place for a packed vector, and for what is written on the way: Golomb-Rice codes, which are the longest before they
   give way to tiles, have 65 bits a value and 15 a tile, and bytes behind them change. */
#define WRITTEN_BEHIND 1500

static inline int64_t packed_capacity(int64_t d)
{
    return 9 * d + CODED_MOST + FEW * NUMBER_MOST + WRITTEN_BEHIND;
}

/* Bytes of a packed tile, -1 if it is none or goes beyond what is ``available``; ``widest`` becomes the width of its codes if that
   is larger. */
static inline int64_t tile_length(const uint8_t *in, int64_t available, int size, int *widest)
{
    int64_t bytes = 0;
    int bits = 0;
    if (size <= FEW) {
        for (int j = 0; j < size; j++) {
            uint64_t code;
            const int number = get_number(in + bytes, available - bytes, &code);
            if (number < 0)
                return -1;
            bits = width_of(code) > bits ? width_of(code) : bits;
            bytes += number;
        }
    } else {
        bits = available > 0 ? *in : 255;
        bytes = 1 + packed_size(size, bits);
        if ((bits > WIDEST && bits != 64) || bytes > available)
            return -1;
    }
    *widest = bits > *widest ? bits : *widest;
    return bytes;
}

/* The same of a packed vector. */
static int64_t packed_length(const uint8_t *in, int64_t available, int64_t d, int *widest)
{
    coded_header h;
    int64_t read = get_coded(in, available, d, &h);
    if (read) {
        *widest = h.width > *widest ? h.width : *widest;
        return read < 0 ? -1 : read + h.bytes;
    }
    for (int64_t at = 0; at < d; at += TILE) {
        const int64_t bytes = tile_length(in + read, available - read, tile_size(d, at), widest);
        if (bytes < 0)
            return -1;
        read += bytes;
    }
    return read;
}

/* Bytes of packed extremes; -1 if they are none or go beyond ``available``. */
static int64_t extremes_length(const uint8_t *in, int64_t available, int64_t d)
{
    int widest = 0;
    const int64_t low = packed_length(in, available, d, &widest);
    const int64_t spread = low < 0 ? -1 : packed_length(in + low, available - low, d, &widest);
    return spread < 0 ? -1 : low + spread;
}
#endif
