/* X <- W X and its kin. Included once for each REAL; NAME(x) makes a name of its own. */

/* out_i = keep x_i + move sum_j w_ij (x_j - x_i) + rest previous_i, summed in the order of ``columns``.

   Differences, and sums in double: equal rows stay equal to the bit, and float32 weights need not sum to 1. */
static void NAME(weighted_sums)(const mixing_rows *w, int64_t d, const REAL *own, const REAL *ghosts, REAL *out,
                                double keep, double move, double rest, const REAL *previous)
{
    double sums[PIECE];
    for (int64_t begin = 0; begin < d; begin += PIECE) {
        const int size = d - begin < PIECE ? (int)(d - begin) : PIECE;
        for (int64_t i = 0; i < w->hosted; i++) {
            const REAL *x = own + i * d + begin;
            REAL *to = out + i * d + begin;
            for (int k = 0; k < size; k++)
                sums[k] = 0;
            for (int64_t e = w->starts[i]; e < w->starts[i + 1]; e++) {
                const int64_t column = w->columns[e];
                const double weight = w->weights[e];
                const REAL *row = begin + (column < w->hosted ? own + column * d : ghosts + (column - w->hosted) * d);
                if (column == i)
                    continue;
                for (int k = 0; k < size; k++)
                    sums[k] += weight * ((double)row[k] - (double)x[k]);
            }
            if (!previous)
                for (int k = 0; k < size; k++)
                    to[k] = (REAL)(keep * (double)x[k] + move * sums[k]);
            else
                for (int k = 0; k < size; k++)
                    to[k] = (REAL)(keep * (double)x[k] + move * sums[k] + rest * (double)previous[i * d + begin + k]);
        }
    }
}
