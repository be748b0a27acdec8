/* Vectors of integers in as few bits as they need: the format.

   A packed vector is tiles of TILE values: one byte with a width, then codes of that width, 2v for v >= 0 and -2v - 1
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

/* Largest size of a packed vector. */
static inline int64_t packed_capacity(int64_t d)
{
    return 8 * d + (d + TILE - 1) / TILE + FEW * NUMBER_MOST;
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
    int64_t read = 0;
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
