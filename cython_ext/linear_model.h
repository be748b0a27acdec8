/* Loss and gradient of one node's linear model, in one pass over its rows.

   Included once for REAL = double and once for REAL = float; NAME(x) makes a name of its own.

   A block of rows is read from memory once: its margins z = A x, the derivatives of the
   loss at z, and the update of the gradient all happen while the block is in cache. BLAS
   would read A twice. The order of every sum depends on the number of rows and columns
   alone (vectors of a fixed width, never on alignment), so a node gets the same bits
   wherever it is hosted. */

#define LANES ((int64_t)(64 / sizeof(REAL)))
#define PIECES (64 / VECTOR) /* registers of 64 bytes */
#define PIECE (VECTOR / (int64_t)sizeof(REAL))

typedef REAL NAME(vector) __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));
typedef REAL NAME(half) __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));
typedef REAL NAME(four) __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
typedef WORD NAME(index) __attribute__((vector_size(4 * sizeof(REAL))));

/* The lanes of each row's sum: the half is added to the lower ones, and halves to each other, down to four. */
static inline NAME(four) NAME(folded)(const NAME(vector) s[PIECES], NAME(half) half)
{
    NAME(four) fours[2];
#if VECTOR == 32
    half = ((NAME(half))s[0] + half) + (NAME(half))s[1]; /* without a detour by memory */
#else
    NAME(half) halves[2];
    for (int p = 0; p < PIECES; p++)
        *(NAME(vector) *)((REAL *)halves + p * PIECE) = s[p];
    half = (halves[0] + half) + halves[1];
#endif
    memcpy(fours, &half, sizeof half);
    if (sizeof(REAL) == 4)
        fours[0] += fours[1];
    return fours[0];
}

/* The sums of four rows. */
static inline NAME(four) NAME(lane_sums)(const NAME(vector) sums[4][PIECES], const NAME(half) halves[4])
{
    NAME(four) s[4];
    for (int r = 0; r < 4; r++)
        s[r] = NAME(folded)(sums[r], halves[r]);
    /* transposed: lane r belongs to row r */
    const NAME(index) even = {0, 4, 2, 6}, odd = {1, 5, 3, 7}, low = {0, 1, 4, 5}, high = {2, 3, 6, 7};
    const NAME(four) e0 = __builtin_shuffle(s[0], s[1], even), e1 = __builtin_shuffle(s[2], s[3], even);
    const NAME(four) o0 = __builtin_shuffle(s[0], s[1], odd), o1 = __builtin_shuffle(s[2], s[3], odd);
    return (__builtin_shuffle(e0, e1, low) + __builtin_shuffle(e0, e1, high))
         + (__builtin_shuffle(o0, o1, low) + __builtin_shuffle(o0, o1, high));
}

/* The rows that come ``ahead`` values behind two of these are fetched: while a block is computed with, the next comes
   from memory, half of it with each of the two uses. */
static inline void NAME(fetch)(const REAL *const rows[2], int64_t ahead)
{
    if (ahead)
        for (int r = 0; r < 2; r++)
            __builtin_prefetch(rows[r] + ahead, 0, 2);
}

/* z[r] = rows[r] . x for four rows at once: x is loaded once and the sums are independent */
static inline void NAME(dot4)(const REAL *const rows[4], const REAL *x, int64_t d, REAL z[4], int64_t ahead)
{
    NAME(vector) s[4][PIECES] = {{{0}}};
    NAME(half) h[4] = {{0}};
    int64_t k = 0;
    for (; k + LANES <= d; k += LANES) {
        NAME(fetch)(rows, ahead ? ahead + k : 0);
        for (int p = 0; p < PIECES; p++) {
            const NAME(vector) v = *(const NAME(vector) *)(x + k + p * PIECE);
            for (int r = 0; r < 4; r++)
                s[r][p] += *(const NAME(vector) *)(rows[r] + k + p * PIECE) * v;
        }
    }
    if (k + LANES / 2 <= d) {
        const NAME(half) v = *(const NAME(half) *)(x + k);
        for (int r = 0; r < 4; r++)
            h[r] = *(const NAME(half) *)(rows[r] + k) * v;
        k += LANES / 2;
    }
    const NAME(four) sums = NAME(lane_sums)((const NAME(vector)(*)[PIECES])s, h);
    memcpy(z, &sums, sizeof sums);
    for (; k < d; k++)
        for (int r = 0; r < 4; r++)
            z[r] += rows[r][k] * x[k];
}

/* g += sum_r w[r] rows[r] */
static inline void NAME(add4)(const REAL *const rows[4], const REAL w[4], int64_t d, REAL *g, int64_t ahead)
{
    int64_t k = 0;
#define ADD(type, at)                                                                             \
    *(type *)(g + (at)) += (w[0] * *(const type *)(rows[0] + (at)) + w[1] * *(const type *)(rows[1] + (at))) \
                         + (w[2] * *(const type *)(rows[2] + (at)) + w[3] * *(const type *)(rows[3] + (at)))
    for (; k + LANES <= d; k += LANES) {
        NAME(fetch)(rows + 2, ahead ? ahead + k : 0);
        for (int p = 0; p < PIECES; p++)
            ADD(NAME(vector), k + p * PIECE);
    }
    if (k + LANES / 2 <= d) {
        ADD(NAME(half), k);
        k += LANES / 2;
    }
    for (; k < d; k++)
        ADD(REAL, k);
#undef ADD
}

/* means over the samples, plus l2/2 |x|^2 + nonconvex sum x^2/(1+x^2) */
static void NAME(finish_node)(const linear_model *model, int64_t count, const REAL *x, REAL *gradient, double total,
                              double *value)
{
    const int64_t size = model->features * model->outputs;
    const REAL share = (REAL)(1.0 / (double)count), l2 = (REAL)model->l2, twice = (REAL)(2 * model->nonconvex);
    if (gradient && twice == 0)
        for (int64_t k = 0; k < size; k++)
            gradient[k] = gradient[k] * share + l2 * x[k];
    else if (gradient)
        for (int64_t k = 0; k < size; k++) {
            const REAL q = 1 / (1 + x[k] * x[k]);
            gradient[k] = gradient[k] * share + l2 * x[k] + twice * x[k] * q * q;
        }
    if (value) {
        double squares = 0, bounded = 0;
        for (int64_t k = 0; k < size; k++) {
            const double s = (double)x[k] * (double)x[k];
            squares += s;
            bounded += s / (1 + s);
        }
        *value = total / (double)count;
        if (model->l2 > 0) /* 0 times an overflow is no number */
            *value += 0.5 * model->l2 * squares;
        if (model->nonconvex > 0)
            *value += model->nonconvex * bounded;
    }
}

/* One node with dense rows. index (or NULL for the first `count` rows) names the samples.
   x, gradient: (outputs, d). margins: BLOCK_ROWS x outputs doubles, aligned to 64 bytes. */
static void NAME(dense_node)(const linear_model *model, const REAL *A, const REAL *b, const int64_t *index,
                             int64_t count, const REAL *x, REAL *gradient, double *value, double *margins)
{
    const int64_t d = model->features, outputs = model->outputs;
    const int64_t block = block_rows(d * (int64_t)sizeof(REAL));
    double total = 0;
    double targets[BLOCK_ROWS];
    REAL z[4], w[4];
    const REAL *rows[BLOCK_ROWS + 3];

    if (gradient)
        memset(gradient, 0, (size_t)(outputs * d) * sizeof(REAL));
    for (int64_t start = 0; start < count; start += block) {
        const int64_t size = count - start < block ? count - start : block;
        const int64_t ahead = index || size < block ? 0 : block * d;
        for (int64_t j = 0; j < size; j++) {
            const int64_t row = index ? index[start + j] : start + j;
            rows[j] = index || !j ? A + row * d : rows[j - 1] + d;
            targets[j] = (double)b[row];
        }
        for (int64_t j = size; j % 4; j++)
            rows[j] = rows[0]; /* weight 0 below */
        for (int64_t j = 0; j < size; j += 4)
            for (int64_t c = 0; c < outputs; c++) {
                NAME(dot4)(rows + j, x + c * d, d, z, c ? 0 : ahead);
                for (int64_t r = 0; r < 4; r++)
                    margins[(j + r) * outputs + c] = z[r];
            }
        total += derivatives(model, targets, size, margins, value != NULL);
        if (!gradient)
            continue;
        for (int64_t j = 0; j < size; j += 4)
            for (int64_t c = 0; c < outputs; c++) {
                for (int64_t r = 0; r < 4; r++)
                    w[r] = j + r < size ? (REAL)margins[(j + r) * outputs + c] : 0;
                NAME(add4)(rows + j, w, d, gradient + c * d, c ? 0 : ahead);
            }
    }
    NAME(finish_node)(model, count, x, gradient, total, value);
}

/* The same with compressed sparse rows. */
static void NAME(sparse_node)(const linear_model *model, const REAL *data, const int32_t *columns,
                              const int64_t *starts, const REAL *b, const int64_t *index, int64_t count,
                              const REAL *x, REAL *gradient, double *value, double *margins)
{
    const int64_t d = model->features, outputs = model->outputs;
    double total = 0;
    if (gradient)
        memset(gradient, 0, (size_t)(outputs * d) * sizeof(REAL));
    for (int64_t j = 0; j < count; j++) {
        const int64_t row = index ? index[j] : j;
        for (int64_t c = 0; c < outputs; c++) {
            double z = 0;
            for (int64_t e = starts[row]; e < starts[row + 1]; e++)
                z += (double)data[e] * x[c * d + columns[e]];
            margins[c] = z;
        }
        const double target = (double)b[row];
        total += derivatives(model, &target, 1, margins, value != NULL);
        if (!gradient)
            continue;
        for (int64_t c = 0; c < outputs; c++)
            for (int64_t e = starts[row]; e < starts[row + 1]; e++)
                gradient[c * d + columns[e]] += (REAL)margins[c] * data[e];
    }
    NAME(finish_node)(model, count, x, gradient, total, value);
}

#undef LANES
#undef PIECES
#undef PIECE
