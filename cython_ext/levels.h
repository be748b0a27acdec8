/* Rounding to the nearest of a few given levels. Included once for each REAL; NAME(x) makes a name of its own. */

/* codes of y sqrt(d)/|y| among 2^bits ascending ``centroids``, and in front the scale S = |y|^2 / <y, rounded>, so that
   S rounded has the same component along y as y has. Returns 0, or -1 if a value is not finite. */
static int NAME(levels_encode)(const REAL *y, int64_t d, const double *centroids, int bits, uint8_t *out)
{
    const int last = (1 << bits) - 1;
    const double norm = NAME(magnitude)(y, d, EUCLIDEAN);
    double part[PARTS] = {0}, along = 0, middle[15];
    double t[TILE], value[TILE], code[TILE];
    uint8_t codes[TILE];
    if (!(norm < BEYOND))
        return -1;
    memset(out, 0, (size_t)(4 + packed_size(d, bits)));
    if (norm < TINY)
        return 0;
    const double unit = sqrt((double)d) / norm;
    for (int k = 0; k < last; k++)
        middle[k] = (centroids[k] + centroids[k + 1]) / 2;
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        for (int j = 0; j < size; j++) {
            t[j] = unit * (double)y[start + j];
            value[j] = centroids[0];
            code[j] = 0;
        }
        for (int k = 0; k < last; k++) { /* all in doubles: the compiler vectorises it */
            const double bound = middle[k], next = centroids[k + 1];
            for (int j = 0; j < size; j++) {
                code[j] += t[j] >= bound ? 1.0 : 0.0;
                value[j] = t[j] >= bound ? next : value[j];
            }
        }
        for (int j = 0; j < size; j++)
            codes[j] = (uint8_t)(int32_t)code[j];
        for (int j = size; j % PARTS; j++)
            t[j] = value[j] = 0;
        for (int i = 0; i < size; i += PARTS)
            for (int j = 0; j < PARTS; j++)
                part[j] += t[i + j] * value[i + j];
        pack_bytes(codes, out + 4 + packed_size(start, bits), size, bits);
    }
    for (int j = 0; j < PARTS; j++)
        along += part[j];
    send_scale((double)d / along / unit, out);
    return 0;
}

static void NAME(levels_decode)(const uint8_t *in, int64_t d, const double *centroids, int bits, REAL *y)
{
    const double scale = read_scale(in);
    REAL value[16];
    uint8_t codes[TILE];
    for (int k = 0; k < 1 << bits; k++)
        value[k] = (REAL)(scale * centroids[k]);
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        unpack_bytes(in + 4 + packed_size(start, bits), codes, size, bits);
        for (int j = 0; j < size; j++)
            y[start + j] = value[codes[j]];
    }
}
