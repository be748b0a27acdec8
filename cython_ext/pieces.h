/* What nodes do with their integers, of type VALUE. Included once for each VALUE, of which CODE is the
   unsigned; NAME(x) makes a name of its own. */

/* True if |v| < 2^50 everywhere. */
static inline int NAME(are_small)(const VALUE *v, int size)
{
    return sizeof(VALUE) == 4 || width_of(NAME(all_codes)(v, size)) <= SMALL_IN_DOUBLE;
}

/* A piece for each value, which with ``take`` goes off it. */
#define EACH_PIECE(piece_of_y)                                                                                         \
    for (int j = 0; j < size; j++) {                                                                                   \
        const VALUE piece = (VALUE)(piece_of_y);                                                                       \
        c[j] = piece;                                                                                                  \
        y[j] -= take ? piece : 0;                                                                                      \
        all |= NAME(folded)(piece);                                                                                    \
    }

/* c = floor(y/z) for a tile, which with ``take`` goes off y; returns all codes of c. With a mantissa of m bits
   (y + 1/2)/z - 1/2 is at least 1/(2z) away from where it would be rounded to another integer, which is more than the
   three roundings on the way as long as |y| < 2^(m - 3). */
static inline CODE NAME(divide_tile)(VALUE *restrict y, int size, int64_t z, VALUE *restrict c, const int take)
{
    CODE all = 0;
    if ((z & (z - 1)) == 0) {
        const int shift = __builtin_ctzll((uint64_t)z);
        EACH_PIECE(y[j] >> shift)
        return all;
    }
    const int bits = width_of(NAME(all_codes)(y, size));
    if (sizeof(VALUE) == 4 && bits <= SMALL_IN_FLOAT) {
        const float inverse = 1.0f / (float)z;
        EACH_PIECE(round_in_float(((float)y[j] + 0.5f) * inverse - 0.5f))
    } else if (bits <= SMALL_IN_DOUBLE) {
        const double inverse = 1.0 / (double)z;
        EACH_PIECE(ROUND((TO_DOUBLE(y[j]) + 0.5) * inverse - 0.5))
    } else
        EACH_PIECE(floor_divide(y[j], z))
    return all;
}

#undef EACH_PIECE

/* One step of FTQC at a node: for z, z - 1, ..., z - pieces + 1 the piece floor(y/z) goes from y to destination
   route[0], route[1], ... of ``count``, of which each gets some. ``work``: of count tiles. */
static void NAME(split_pieces)(VALUE *y, int64_t d, int64_t z, int64_t pieces, const int32_t *route, destination *to,
                               int count, VALUE *work)
{
    for (int t = 0; t < count; t++)
        to[t].begun = 0;
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        VALUE c[TILE];
        for (int64_t k = 0; k < pieces; k++) {
            const int first = to[route[k]].begun <= at;
            VALUE *sum = work + (int64_t)route[k] * TILE, *piece = first ? sum : c;
            to[route[k]].all = NAME(divide_tile)(y + at, size, z - k, piece, 1);
            to[route[k]].begun = at + 1;
            if (!first) {
                for (int j = 0; j < size; j++)
                    sum[j] += c[j];
                to[route[k]].all = NAME(all_codes)(sum, size);
            }
        }
        for (int t = 0; t < count; t++) {
            const VALUE *sum = work + (int64_t)t * TILE;
            if (to[t].packed)
                to[t].size += NAME(pack_tile)(sum, size, (CODE)to[t].all, to[t].packed + to[t].size);
            else
                for (int j = 0; j < size; j++)
                    to[t].sum[at + j] = sum[j] + (to[t].fresh ? 0 : to[t].sum[at + j]);
        }
    }
}

/* c = round(part y + momentum c), c what was sent before, goes off y for each neighbour; returns all codes of c. Any
   integer that is sent and subtracted keeps the sum, but only those within about one let the ratios converge, hence long
   double (64 bits of mantissa, or more) for what does not fit into double. */
static inline CODE NAME(share_tile)(VALUE *restrict y, int size, int64_t z, int64_t share, double momentum,
                                    VALUE neighbours, VALUE *restrict c)
{
    const double part = (double)share / (double)z;
    const long double long_part = (long double)share / (long double)z;
    CODE all = 0;
    if (NAME(are_small)(y, size) && NAME(are_small)(c, size))
        for (int j = 0; j < size; j++) {
            c[j] = ROUND(part * TO_DOUBLE(y[j]) + momentum * TO_DOUBLE(c[j]));
            y[j] -= neighbours * c[j];
            all |= NAME(folded)(c[j]);
        }
    else
        for (int j = 0; j < size; j++) {
            c[j] = (VALUE)floorl(long_part * (long double)y[j] + (long double)momentum * (long double)c[j] + 0.5L);
            y[j] -= neighbours * c[j];
            all |= NAME(folded)(c[j]);
        }
    return all;
}

/* One step of integer push-sum at a node: what goes to each of the neighbours, packed once; bytes written. ``flow``:
   what went to them in the step before, and then in this one. */
static int64_t NAME(share_out)(VALUE *y, VALUE *flow, int64_t d, int64_t z, int64_t share, double momentum,
                               int neighbours, int coder, uint8_t *packed)
{
    int64_t bytes = 0;
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        const CODE all = NAME(share_tile)(y + at, size, z, share, momentum, neighbours, flow + at);
        if (coder == TILES)
            bytes += NAME(pack_tile)(flow + at, size, all, packed + bytes);
    }
    return coder == TILES ? bytes : NAME(pack_vector)(flow, d, coder, packed);
}

/* low = min(low, floor(y/z)), high = max(high, ceil(y/z)). */
static void NAME(widen_by_ratio)(VALUE *y, int64_t d, int64_t z, int64_t *low, int64_t *high)
{
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        VALUE c[TILE];
        NAME(divide_tile)(y + at, size, z, c, 0);
        for (int j = 0; j < size; j++) {
            const int64_t up = c[j] + (c[j] * (VALUE)z != y[at + j]);
            low[at + j] = c[j] < low[at + j] ? c[j] : low[at + j];
            high[at + j] = up > high[at + j] ? up : high[at + j];
        }
    }
}

/* The sum S over nodes that a ratio of push-sum stands for: round(total y/(unit z)), total the sum of all z. S is
   between the smallest and the largest of these, so that where all nodes find the same integer it is S, even with an
   error of nearly 1/2 in each ratio: that of doubles is below 1/8 for |S| < 2^48, that of long doubles for
   |S| <= 2^60. */
static void NAME(round_ratio)(const VALUE *y, int64_t d, int64_t z, int64_t total, int64_t unit, int64_t *sum)
{
    const long double long_scale = (long double)total / (long double)unit / (long double)z;
    const double scale = (double)long_scale;
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        int large = !NAME(are_small)(y + at, size);
        for (int j = 0; j < size; j++)
            large |= fabs(scale * TO_DOUBLE(y[at + j])) >= 0x1p48;
        if (!large)
            for (int j = 0; j < size; j++)
                sum[at + j] = round_in_double(scale * TO_DOUBLE(y[at + j]));
        else
            for (int j = 0; j < size; j++)
                sum[at + j] = (int64_t)floorl(long_scale * (long double)y[at + j] + 0.5L);
    }
}

static void NAME(settle_row)(double *hat, const int64_t *q, const VALUE *y, int64_t d, double parts, const double *m,
                             double share, double step)
{
    for (int64_t j = 0; j < d; j++)
        hat[j] += step * ((double)q[j] - ((double)y[j] * parts - m[j] * share));
}
