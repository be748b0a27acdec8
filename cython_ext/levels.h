/* Rounding to the nearest of a few given levels. Included once for each REAL; NAME(x) makes a name of its own. */

#if VECTOR == 64
/* value[code] in each lane, for codes below 8. */
INLINE NAME(vector) NAME(looked_up)(const REAL value[16], const uint8_t *codes)
{
    const __m512i code = sizeof(REAL) == 8 ? _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)codes))
                                           : _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)codes));
    return __builtin_shuffle(*(const NAME(vector) *)value, (NAME(mask))code);
}
#endif

/* Codes of PARTS values among last + 1 centroids with ``middle`` between them; adds unit y_j (its centroid) to ``part``,
   which zeros do not change. */
INLINE void NAME(nearest_levels)(const REAL *y, double unit, const double *centroids, const double *middle, int last,
                                 uint8_t *codes, doubles part[PART_VECTORS])
{
    doubles t[PART_VECTORS], value[PART_VECTORS];
    longs code[PART_VECTORS];
    for (int k = 0; k < PART_VECTORS; k++) {
        t[k] = NAME(load)(y + k * DOUBLES) * unit;
        value[k] = (doubles){0} + centroids[0];
        code[k] = (longs){0};
    }
    for (int c = 0; c < last; c++)
        for (int k = 0; k < PART_VECTORS; k++) {
            const longs above = t[k] >= (doubles){0} + middle[c];
            code[k] -= above;
            value[k] = doubles_where(above, (doubles){0} + centroids[c + 1], value[k]);
        }
    for (int k = 0; k < PART_VECTORS; k++) {
        part[k] += t[k] * value[k];
        store_low_bytes(code[k], codes + k * DOUBLES);
    }
}

/* codes of y sqrt(d)/|y| among 2^bits ascending ``centroids``, and in front the scale S = |y|^2 / <y, rounded>, so that
   S rounded has the same component along y as y has. Returns 0, or -1 if a value is not finite. */
static int NAME(levels_encode)(const REAL *y, int64_t d, const double *centroids, int bits, uint8_t *out)
{
    const int last = (1 << bits) - 1;
    const double norm = NAME(magnitude)(y, d, EUCLIDEAN);
    doubles part[PART_VECTORS] = {{0}};
    double parts[PARTS], along = 0, middle[15];
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
        for (int i = 0; i < size; i += PARTS) {
            REAL rest[PARTS] = {0};
            const int count = size - i < PARTS ? size - i : PARTS;
            const REAL *v = y + start + i;
            if (count < PARTS)
                v = memcpy(rest, v, (size_t)count * sizeof(REAL));
            NAME(nearest_levels)(v, unit, centroids, middle, last, codes + i, part);
        }
        pack_bytes(codes, out + 4 + packed_size(start, bits), size, bits);
    }
    memcpy(parts, part, sizeof parts);
    for (int j = 0; j < PARTS; j++)
        along += parts[j];
    send_scale((double)d / along / unit, out);
    return 0;
}

static void NAME(levels_decode)(const uint8_t *in, int64_t d, const double *centroids, int bits, REAL *y)
{
    const double scale = read_scale(in);
    REAL value[16] = {0};
    uint8_t codes[TILE];
    for (int k = 0; k < 1 << bits; k++)
        value[k] = (REAL)(scale * centroids[k]);
    for (int64_t start = 0; start < d; start += TILE) {
        const int size = d - start < TILE ? (int)(d - start) : TILE;
        int j = 0;
        unpack_bytes(in + 4 + packed_size(start, bits), codes, size, bits);
#if VECTOR == 64 /* others have no permutation of so many values */
        for (; bits <= 3 && j + LANES <= size; j += LANES)
            *(NAME(vector) *)(y + start + j) = NAME(looked_up)(value, codes + j);
#endif
        for (; j < size; j++)
            y[start + j] = value[codes[j]];
    }
}
