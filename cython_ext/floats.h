/* Shorter floating-point numbers, relative to the power of two above the largest value: they neither overflow nor,
   for what matters beside the largest value, underflow. Included once for each REAL; NAME(x) makes a name of its own. */

#ifndef FLOATS
#define FLOATS
/* The smallest power of two that is larger than ``size``. */
static inline double power_above(double size)
{
    int exponent;
    frexp(size, &exponent);
    return ldexp(1, exponent < 1023 ? exponent : 1023);
}

static inline uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

static inline float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* To single precision with the last bit set if that is not exact: rounding again, to a shorter format, is then right. */
static inline float to_odd(double x)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    u = (u & ~0x1FFFFFFFULL) | (uint64_t)((u & 0x1FFFFFFFULL) != 0) << 29;
    memcpy(&x, &u, 8);
    return (float)x;
}

/* To nearest, ties to even; |x| < 65504. */
static inline uint16_t to_half(float x)
{
    const uint32_t u = bits_of(x), magnitude = u & 0x7FFFFFFFu;
    const uint32_t small = bits_of(float_of(magnitude) + 0.5f) - 0x3F000000u; /* the addition rounds */
    const uint32_t normal = (magnitude + 0xC8000FFFu + (magnitude >> 13 & 1)) >> 13;
    return (uint16_t)(u >> 16 & 0x8000u) | (uint16_t)(magnitude < 0x38800000u ? small : normal);
}

static inline float from_half(uint16_t h)
{
    return float_of((uint32_t)(h & 0x7FFF) << 13) * (h & 0x8000 ? -0x1p112f : 0x1p112f);
}

/* To nearest, ties to even. */
static inline uint16_t to_bfloat(float x)
{
    const uint32_t u = bits_of(x);
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1)) >> 16);
}

/* Natural compression: sign and exponent of x, |x| < 1, rounded up with probability equal to the mantissa; code 255
   of the exponent is 1, and 0 is zero, for everything below 2^-254. */
static inline uint32_t to_power(double x, uint32_t random)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    const int exponent = (int)(((u & 0x7FFFFFFFFFFFFFFFULL) + ((uint64_t)random << 20)) >> 52) - 1023;
    return (uint32_t)(u >> 63) << 8 | (uint32_t)(exponent < -254 ? 0 : 255 + exponent);
}

static inline double from_power(uint32_t code)
{
    const uint64_t u = code & 255 ? (uint64_t)(code >> 8) << 63 | (uint64_t)((code & 255) + 1023 - 255) << 52 : 0;
    double x;
    memcpy(&x, &u, 8);
    return x;
}
#endif

/* One vector -> scale and numbers. key: for POWERS_OF_TWO. Returns 0, or -1 if a value is not finite. */
static int NAME(floats_encode)(const REAL *x, int64_t d, int format, const uint64_t *key, uint8_t *out)
{
    const double size = NAME(magnitude)(x, d, LARGEST);
    float values[TILE];
    uint16_t halves[TILE];
    uint32_t codes[TILE];
    if (!(size < BEYOND))
        return -1;
    memset(out, 0, (size_t)(4 + packed_size(d, (int)float_bits(format))));
    if (size < TINY)
        return 0;
    /* float16 has more room above 1 than below */
    const double unit = (format == FLOAT16 ? 0x1p15 : 1) / send_scale(power_above(size), out);
    for (int64_t start = 0; start < d; start += TILE) {
        const int count = d - start < TILE ? (int)(d - start) : TILE;
        uint8_t *piece = out + 4 + packed_size(start, (int)float_bits(format));
        const REAL *v = x + start;
        if (format == POWERS_OF_TWO) {
            for (int j = 0; j < count; j++)
                codes[j] = to_power((double)v[j] * unit, word((uint32_t)(start + j), *key));
            pack_words(codes, piece, count, 9);
            continue;
        }
        for (int j = 0; j < count; j++)
            values[j] = format == FLOAT32 ? (float)((double)v[j] * unit) : to_odd((double)v[j] * unit);
        if (format == FLOAT32) {
            memcpy(piece, values, (size_t)count * 4);
            continue;
        }
        if (format == FLOAT16)
            for (int j = 0; j < count; j++)
                halves[j] = to_half(values[j]);
        else
            for (int j = 0; j < count; j++)
                halves[j] = to_bfloat(values[j]);
        memcpy(piece, halves, (size_t)count * 2);
    }
    return 0;
}

static void NAME(floats_decode)(const uint8_t *in, int64_t d, int format, REAL *x)
{
    const double unit = read_scale(in) * (format == FLOAT16 ? 0x1p-15 : 1);
    float values[TILE];
    uint16_t halves[TILE];
    uint32_t codes[TILE];
    for (int64_t start = 0; start < d; start += TILE) {
        const int count = d - start < TILE ? (int)(d - start) : TILE;
        const uint8_t *piece = in + 4 + packed_size(start, (int)float_bits(format));
        REAL *out = x + start;
        if (format == POWERS_OF_TWO) {
            unpack_words(piece, codes, count, 9);
            for (int j = 0; j < count; j++)
                out[j] = (REAL)(unit * from_power(codes[j]));
            continue;
        }
        if (format == FLOAT32)
            memcpy(values, piece, (size_t)count * 4);
        else
            memcpy(halves, piece, (size_t)count * 2);
        if (format == FLOAT16)
            for (int j = 0; j < count; j++)
                values[j] = from_half(halves[j]);
        if (format == BFLOAT16)
            for (int j = 0; j < count; j++)
                values[j] = float_of((uint32_t)halves[j] << 16);
        for (int j = 0; j < count; j++)
            out[j] = (REAL)(unit * (double)values[j]);
    }
}
