/* Some of the coordinates. Included once for each REAL; NAME(x) makes a name of its own. */

#ifndef SPARSE
#define SPARSE
/* k of 0 .. d-1 without replacement, ascending, every subset with the same probability (Knuth's algorithm S). */
static void choose(int64_t d, int64_t k, uint64_t key, uint32_t *index)
{
    for (int64_t j = 0, left = k; left > 0; j++)
        if ((word((uint32_t)j, key) * (uint64_t)(d - j)) >> 32 < (uint64_t)left) {
            *index++ = (uint32_t)j;
            left--;
        }
}
#endif

/* |x| as an integer of the same order. */
static inline uint64_t NAME(order)(REAL x)
{
    const double a = fabs((double)x);
    uint64_t u;
    memcpy(&u, &a, 8);
    return u;
}

/* The k coordinates of largest magnitude, ascending; of equal ones the first. A radix selection: 11 bits of the
   threshold are found in each pass over the vector. */
static void NAME(largest)(const REAL *x, int64_t d, int64_t k, uint32_t *index)
{
    uint64_t prefix = 0;
    int64_t wanted = k; /* of the values that begin with the prefix */
    int shift = 63;
    while (shift > 0) {
        const int digit = shift < 11 ? shift : 11;
        uint32_t count[2048] = {0};
        for (int64_t j = 0; j < d; j++) {
            const uint64_t u = NAME(order)(x[j]);
            if (u >> shift == prefix)
                count[u >> (shift - digit) & ((1u << digit) - 1)]++;
        }
        int top = (1 << digit) - 1;
        while (wanted > count[top])
            wanted -= count[top--];
        shift -= digit;
        prefix = prefix << digit | (uint64_t)top;
        if (wanted == count[top])
            break; /* all of them: no more to be decided */
    }
    for (int64_t j = 0; j < d; j++) {
        const uint64_t u = NAME(order)(x[j]) >> shift;
        if (u > prefix || (u == prefix && wanted-- > 0))
            *index++ = (uint32_t)j;
    }
}

/* Scale and k values as float32; the values are x_j * factor. Returns 0, or -1 if a value of x is not finite. */
static int NAME(gather)(const REAL *x, int64_t d, const uint32_t *index, int64_t k, uint8_t *out)
{
    const double size = NAME(magnitude)(x, d, LARGEST);
    if (!(size < BEYOND))
        return -1;
    const double unit = size < TINY ? 0 : 1 / power_above(size);
    send_scale(unit > 0 ? 1 / unit : 0, out);
    for (int64_t i = 0; i < k; i++) {
        const float value = (float)((double)x[index[i]] * unit);
        memcpy(out + 4 + 4 * i, &value, 4);
    }
    return 0;
}

static void NAME(scatter)(const uint8_t *in, int64_t d, const uint32_t *index, int64_t k, double factor, REAL *x)
{
    const double scale = read_scale(in);
    memset(x, 0, (size_t)d * sizeof(REAL));
    for (int64_t i = 0; i < k; i++) {
        float value;
        memcpy(&value, in + 4 + 4 * i, 4);
        if (index[i] < d) /* a broken message does no harm */
            x[index[i]] = (REAL)(factor * (scale * (double)value));
    }
}
