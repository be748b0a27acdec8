/* The scale of a message: 4 bytes in front of the codes, the upper half of a float64. */
#ifndef SCALE_H
#define SCALE_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#define SCALE_BYTES 4

/* Vectors smaller than this are sent as zero: the reciprocal of their scale would overflow. */
#define TINY 0x1p-900

/* Write a scale and return what is read from there: rounded up, so that no value is beyond it, to 20 bits of mantissa,
   and with the range of a float64. */
static inline double send_scale(double scale, uint8_t *out)
{
    uint64_t bits;
    memcpy(&bits, &scale, 8);
    bits = (bits + 0xFFFFFFFFULL) >> 32;
    if (bits > 0x7FEFFFFFULL)
        bits = 0x7FEFFFFFULL;
    const uint32_t half = (uint32_t)bits;
    memcpy(out, &half, 4);
    bits <<= 32;
    memcpy(&scale, &bits, 8);
    return scale;
}

static inline double read_scale(const uint8_t *in)
{
    uint32_t half;
    double scale;
    memcpy(&half, in, 4);
    const uint64_t bits = (uint64_t)half << 32;
    memcpy(&scale, &bits, 8);
    return scale;
}

/* The smallest power of two that is larger than ``size``. */
static inline double power_above(double size)
{
    int exponent;
    frexp(size, &exponent);
    return ldexp(1, exponent < 1023 ? exponent : 1023);
}
#endif
