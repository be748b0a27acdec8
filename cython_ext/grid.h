/* Rounding to a uniform grid. Included once for each REAL; NAME(x) makes a name of its own. */

#ifndef GRID
#define GRID
/* What the step of the grid follows from: given; the largest value or the norm of the vector, divided by the number of
   levels; or zooming, the smallest of given * zoom^j (j = 0, 1, ...) at which no value is beyond the last level. */
enum { GIVEN, BY_LARGEST, BY_NORM, ZOOMING };

typedef struct {
    int64_t bits;   /* of one code */
    int64_t rule;   /* how the step is found; all but GIVEN send a scale of 4 bytes in front of the codes */
    int64_t levels; /* codes on each side of zero */
    double shift;   /* code = floor(x / step + shift + u), u uniform on [0, 1) if stochastic, else 1/2 */
    double centre;  /* x = step (code - centre) */
    double given, zoom;
} grid;

static inline int64_t grid_header(const grid *g) { return g->rule == GIVEN ? 0 : 4; }

static inline double grid_step(const grid *g, double scale)
{
    return g->rule == GIVEN || g->rule == ZOOMING ? scale : scale / (double)g->levels;
}

static inline double grid_scale(const grid *g, double size)
{
    if (g->rule != ZOOMING)
        return size;
    const double beyond = size / ((double)g->levels * g->given);
    double step = beyond <= 1 ? g->given : g->given * pow(g->zoom, ceil(log(beyond) / log(g->zoom)));
    while (step * (double)g->levels < size) /* the logarithm was rounded down, or powers underflowed */
        step = fmax(step, TINY) * g->zoom;
    return step;
}
#endif

static inline void NAME(round_bytes)(const REAL *x, const double *u, uint8_t *codes, int size, double inverse, double top)
{
    for (int j = 0; j < size; j++) {
        double t = (double)x[j] * inverse + u[j];
        t = t > 0 ? t : 0;
        t = t < top ? t : top;
        codes[j] = (uint8_t)(int32_t)t;
    }
}

static inline void NAME(round_words)(const REAL *x, const double *u, uint32_t *codes, int size, double inverse, double top)
{
    for (int j = 0; j < size; j++) {
        double t = (double)x[j] * inverse + u[j];
        t = t > 0 ? t : 0;
        t = t < top ? t : top;
        codes[j] = (uint32_t)(int32_t)t;
    }
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
    const double most = g->rule == GIVEN ? top : fmin(top, 2 * (double)g->levels);
    double u[TILE];
    uint8_t bytes[TILE];
    uint32_t words[TILE];
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        if (g->rule == GIVEN && !(NAME(magnitude)(x + start, size, LARGEST) < BEYOND))
            return -1;
        if (key)
            dither(u, (uint32_t)start, *key, size);
        for (int j = 0; j < size; j++)
            u[j] = (g->shift + 0.5) + (key ? u[j] : 0);
        if (g->bits <= 8) {
            NAME(round_bytes)(x + start, u, bytes, size, inverse, most);
            pack_bytes(bytes, out + packed_size(start, (int)g->bits), size, (int)g->bits);
        } else {
            NAME(round_words)(x + start, u, words, size, inverse, most);
            pack_words(words, out + packed_size(start, (int)g->bits), size, (int)g->bits);
        }
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
