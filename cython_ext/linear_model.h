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

/* z[r] = rows[r] . x for four rows at once, and g += sum_r w[r] before[r] for four whose weights are known: while those
   come from memory these, which were read before, keep the processor busy. Either is left out if ``rows`` or ``before``
   is NULL. */
INLINE void NAME(pass4)(const REAL *const *rows, const REAL *x, REAL z[4], const REAL *const *before, const REAL w[4],
                        REAL *g, int64_t d)
{
    /* copies, which writing to g cannot change */
    const REAL *a[4], *b[4];
    REAL weight[4];
    for (int r = 0; r < 4; r++) {
        a[r] = rows ? rows[r] : NULL;
        b[r] = before ? before[r] : NULL;
        weight[r] = before ? w[r] : 0;
    }
    NAME(vector) s[4][PIECES] = {{{0}}};
    NAME(half) h[4] = {{0}};
    int64_t k = 0;
#define DOT(sum, type, at)      \
    if (rows)                   \
        for (int r = 0; r < 4; r++) \
            sum += *(const type *)(a[r] + (at)) * *(const type *)(x + (at));
#define ADD(type, at)                                                                                          \
    if (before)                                                                                                \
        *(type *)(g + (at)) +=                                                                                 \
            (weight[0] * *(const type *)(b[0] + (at)) + weight[1] * *(const type *)(b[1] + (at)))              \
            + (weight[2] * *(const type *)(b[2] + (at)) + weight[3] * *(const type *)(b[3] + (at)));
    for (; k + LANES <= d; k += LANES)
        for (int p = 0; p < PIECES; p++) {
            DOT(s[r][p], NAME(vector), k + p * PIECE)
            ADD(NAME(vector), k + p * PIECE)
        }
    if (k + LANES / 2 <= d) {
        DOT(h[r], NAME(half), k)
        ADD(NAME(half), k)
        k += LANES / 2;
    }
    if (rows) {
        const NAME(four) sums = NAME(lane_sums)((const NAME(vector)(*)[PIECES])s, h);
        memcpy(z, &sums, sizeof sums);
    }
    for (int rest = 0; rest < LANES / 2 - 1 && k < d; rest++, k++) { /* counted: not worth vectors */
        DOT(z[r], REAL, k)
        ADD(REAL, k)
    }
#undef DOT
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

/* A block of a node's rows, with their targets and margins, then the derivatives of the loss. */
typedef struct {
    int64_t size;
    const REAL *rows[BLOCK_ROWS + 3];
    double targets[BLOCK_ROWS];
    double *margins;
} NAME(block);

/* Rows ``start`` .. of the node, of which index (or NULL for the first `count`) names the samples. */
static void NAME(take_rows)(NAME(block) *block, const REAL *A, const REAL *b, const int64_t *index, int64_t start,
                            int64_t size, int64_t d)
{
    block->size = size;
    for (int64_t j = 0; j < size; j++) {
        const int64_t row = index ? index[start + j] : start + j;
        block->rows[j] = A + row * d;
        block->targets[j] = (double)b[row];
    }
    for (int64_t j = size; j % 4; j++)
        block->rows[j] = block->rows[0]; /* of weight 0 */
    for (int64_t j = size; j < multiple_of_8(size); j++)
        block->targets[j] = 0;
}

/* The margins of ``now`` and what ``before`` adds to the gradient; either may be NULL. */
INLINE void NAME(blocks)(NAME(block) *now, const NAME(block) *before, const REAL *x, REAL *gradient, int64_t d,
                         int64_t outputs)
{
    const int64_t size = now ? now->size : 0, size_before = before ? before->size : 0;
    for (int64_t j = 0; j < size || j < size_before; j += 4)
        for (int64_t c = 0; c < outputs; c++) {
            REAL z[4] = {0}, w[4] = {0};
            for (int64_t r = 0; r < 4 && j < size_before; r++)
                w[r] = (REAL)before->margins[(j + r) * outputs + c];
            if (now && before && j < size && j < size_before)
                NAME(pass4)(now->rows + j, x + c * d, z, before->rows + j, w, gradient + c * d, d);
            else if (now && j < size)
                NAME(pass4)(now->rows + j, x + c * d, z, NULL, NULL, NULL, d);
            else if (before)
                NAME(pass4)(NULL, NULL, NULL, before->rows + j, w, gradient + c * d, d);
            for (int64_t r = 0; r < 4 && j < size; r++)
                now->margins[(j + r) * outputs + c] = z[r];
        }
}

/* One node with dense rows. x, gradient: (outputs, d). margins: 2 BLOCK_ROWS x outputs doubles, aligned to 64 bytes. */
static void NAME(dense_node)(const linear_model *model, const REAL *A, const REAL *b, const int64_t *index,
                             int64_t count, const REAL *x, REAL *gradient, double *value, double *margins)
{
    const int64_t d = model->features, outputs = model->outputs;
    const int64_t size = block_rows(d * (int64_t)sizeof(REAL));
    const int long_rows = d * (int64_t)sizeof(REAL) >= LONG_ROW;
    double total = 0;
    NAME(block) two[2], *now = two, *before = NULL, *free = two + 1;

    if (gradient)
        memset(gradient, 0, (size_t)(outputs * d) * sizeof(REAL));
    two[0].margins = margins, two[1].margins = margins + BLOCK_ROWS * outputs;
    for (int64_t start = 0; start < count; start += size) {
        NAME(take_rows)(now, A, b, index, start, count - start < size ? count - start : size, d);
        if (before)
            NAME(blocks)(now, before, x, gradient, d, outputs);
        else
            NAME(blocks)(now, NULL, x, gradient, d, outputs);
        total += derivatives(model, now->targets, now->size, now->margins, value != NULL);
        memset(now->margins + now->size * outputs, 0, (size_t)(-now->size & 3) * (size_t)outputs * sizeof(double));
        if (gradient && long_rows)
            before = now, now = free, free = before;
        else if (gradient)
            NAME(blocks)(NULL, now, x, gradient, d, outputs);
    }
    if (before)
        NAME(blocks)(NULL, before, x, gradient, d, outputs);
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
        const double targets[8] = {(double)b[row]};
        total += derivatives(model, targets, 1, margins, value != NULL);
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
