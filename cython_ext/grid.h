/* Rounding to a uniform grid. Included once for each REAL; NAME(x) makes a name of its own. */

#ifndef GRID
#define GRID
static inline double grid_step(const grid *g, double scale)
{
    return g->rule == GIVEN || g->rule == ZOOMING ? scale : scale / (double)g->levels;
}

/* base^exponent by products in a fixed order: pow differs between processors in the last bit. */
static inline double integer_power(double base, int64_t exponent)
{
    double power = 1;
    for (; exponent; exponent >>= 1, base *= base)
        if (exponent & 1)
            power *= base;
    return power;
}

/* given * zoom^j; the power alone may be too large for a number. */
static inline double zoomed(const grid *g, int64_t j)
{
    return g->given * integer_power(g->zoom, j / 2) * integer_power(g->zoom, j - j / 2);
}

static inline double grid_scale(const grid *g, double size)
{
    if (g->rule != ZOOMING)
        return size;
    const double last = (double)g->levels;
    if (!(g->given * last < size))
        return g->given;
    /* where to begin: what rounding could make too large, and the library's logarithm different, is taken off */
    int64_t j = (int64_t)floor((log(size) - log(last) - log(g->given)) / log(g->zoom)) - 1;
    for (j = j > 1 ? j : 1; zoomed(g, j) * last < size; j++)
        ;
    return zoomed(g, j);
}
#endif

/* Codes of one tile to nearest, or of more than 8 bits; whether a value is not finite. */
#define DEFINE_ROUND(name, code) \
    static inline int64_t NAME(name)( \
        const REAL *x, const uint32_t *random, code *codes, int size, double inverse, double shift, double top) \
    { \
        int64_t bad = 0; \
        for (int j = 0; j < size; j++) { \
            double t = (double)x[j] * inverse + (shift + centred(random[j])); \
            bad |= beyond((double)x[j]); \
            t = t > 0 ? t : 0; \
            t = t < top ? t : top; \
            codes[j] = (code)(int32_t)t; \
        } \
        return bad < 0; \
    }
DEFINE_ROUND(round_bytes, uint8_t)
DEFINE_ROUND(round_words, uint32_t)
#undef DEFINE_ROUND

/* Codes of at most 8 bits by chance: in single precision, with 16 random bits for each, which is fine enough for so few
   levels (probabilities are right to 2^-16) and twice as fast. Unless the step is given values are known to be finite. */
static inline __attribute__((always_inline)) int64_t NAME(round_by_chance)(
    const REAL *x, const half_word *random, uint8_t *codes, int size, double inverse, float shift, float top,
    const int given)
{
    int64_t bad = 0;
    for (int j = 0; j < size; j++) {
        float t = (float)((double)x[j] * inverse) + add_exact(random[j], 0x1p-16f, shift);
        if (given)
            bad |= beyond((double)x[j]);
        t = t > 0 ? t : 0;
        t = t < top ? t : top;
        codes[j] = (uint8_t)(int32_t)t;
    }
    return bad < 0;
}

/* One vector -> one message. key: NULL for rounding to nearest. Returns 0, or -1 if a value is not finite. */
static int NAME(quantise)(const grid *g, const REAL *x, int64_t d, uint8_t *out, const uint64_t *key)
{
    double scale = g->given;
    if (g->rule != GIVEN) {
        const double size = NAME(magnitude)(x, d, g->rule == BY_NORM ? EUCLIDEAN : LARGEST);
        if (!(size < BEYOND))
            return -1;
        scale = send_scale(size < TINY && g->rule != ZOOMING ? 0 : grid_scale(g, size), out);
        out += 4;
        if (scale == 0) {
            memset(out, 0, (size_t)packed_size(d, (int)g->bits));
            return 0;
        }
    }
    const double inverse = 1 / grid_step(g, scale), top = ldexp(1, (int)g->bits) - 1;
    const double most = fmin(top, 2 * (double)g->levels);
    const double shift = g->shift + 0.5;
    const int bits = (int)g->bits;
    uint32_t random[TILE], words[TILE];
    uint8_t bytes[TILE];
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        uint8_t *piece = out + packed_size(start, bits);
        int64_t bad = 0;
        const int chance = key && bits <= 8;
        random_words(random, (uint32_t)(chance ? start / 2 : start), key, chance ? (size + 1) / 2 : size);
        if (bits > 8)
            bad = NAME(round_words)(x + start, random, words, size, inverse, shift, most);
        else if (!chance)
            bad = NAME(round_bytes)(x + start, random, bytes, size, inverse, shift, most);
        else if (g->rule == GIVEN)
            bad = NAME(round_by_chance)(
                x + start, (const half_word *)random, bytes, size, inverse, (float)shift, (float)most, 1);
        else
            for (int part = 0; part < size; part += 128) {
                /* rounding computes, measuring reads: the next of many short vectors comes while this is rounded */
                for (int line = 0; line < 128 && d <= 16 * TILE; line += 64 / (int)sizeof(REAL))
                    __builtin_prefetch(x + d + start + part + line, 0, 2);
                const int left = size - part < 128 ? size - part : 128;
                NAME(round_by_chance)(
                    x + start + part, (const half_word *)random + part, bytes + part, left, inverse, (float)shift,
                    (float)most, 0);
            }
        if (bad)
            return -1;
        if (bits <= 8)
            pack_bytes(bytes, piece, size, bits);
        else
            pack_words(words, piece, size, bits);
    }
    return 0;
}

static void NAME(dequantise)(const grid *g, const uint8_t *in, int64_t d, REAL *x)
{
    double scale = g->given;
    if (g->rule != GIVEN) {
        scale = read_scale(in);
        in += 4;
        if (scale == 0) {
            memset(x, 0, (size_t)d * sizeof(REAL));
            return;
        }
    }
    const double step = grid_step(g, scale);
    uint8_t bytes[TILE];
    uint32_t words[TILE];
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        const uint8_t *piece = in + packed_size(start, (int)g->bits);
        REAL *out = x + start;
        if (g->bits <= 8) {
            unpack_bytes(piece, bytes, size, (int)g->bits);
            for (int j = 0; j < size; j++)
                out[j] = (REAL)(step * ((double)bytes[j] - g->centre));
        } else {
            unpack_words(piece, words, size, (int)g->bits);
            for (int j = 0; j < size; j++)
                out[j] = (REAL)(step * ((double)(int32_t)words[j] - g->centre));
        }
    }
}
