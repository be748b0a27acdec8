/* Loss and gradient of one node's linear model, in one pass over its rows.

   Included once for REAL = double and once for REAL = float (NAME(x) appends the suffix).

   A block of rows is read from memory once: its margins z = A x, the derivatives of the
   loss at z, and the update of the gradient all happen while the block is in cache. BLAS
   would read A twice. The order of every sum depends on the number of rows and columns
   alone (vectors of a fixed width, never on alignment), so a node gets the same bits
   wherever it is hosted. */

#define LANES ((int64_t)(64 / sizeof(REAL)))

typedef REAL NAME(vector) __attribute__((vector_size(64), aligned(sizeof(REAL)), may_alias));
typedef REAL NAME(half) __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));

static inline REAL NAME(lane_sum)(NAME(vector) v, NAME(half) h)
{
    REAL lanes[64 / sizeof(REAL)];
    *(NAME(vector) *)lanes = v;
    *(NAME(half) *)lanes += h;
    for (int64_t width = LANES / 2; width > 0; width /= 2)
        for (int64_t l = 0; l < width; l++)
            lanes[l] += lanes[l + width];
    return lanes[0];
}

/* z[r] = rows[r] . x for four rows at once: x is loaded once and the sums are independent */
static inline void NAME(dot4)(const REAL *const rows[4], const REAL *x, int64_t d, REAL z[4])
{
    NAME(vector) s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    NAME(half) h0 = {0}, h1 = {0}, h2 = {0}, h3 = {0};
    int64_t k = 0;
#define AT(p) (*(const NAME(vector) *)((p) + k))
    for (; k + LANES <= d; k += LANES) {
        NAME(vector) v = AT(x);
        s0 += AT(rows[0]) * v;
        s1 += AT(rows[1]) * v;
        s2 += AT(rows[2]) * v;
        s3 += AT(rows[3]) * v;
    }
#undef AT
#define AT(p) (*(const NAME(half) *)((p) + k))
    if (k + LANES / 2 <= d) {
        NAME(half) v = AT(x);
        h0 = AT(rows[0]) * v;
        h1 = AT(rows[1]) * v;
        h2 = AT(rows[2]) * v;
        h3 = AT(rows[3]) * v;
        k += LANES / 2;
    }
#undef AT
    z[0] = NAME(lane_sum)(s0, h0);
    z[1] = NAME(lane_sum)(s1, h1);
    z[2] = NAME(lane_sum)(s2, h2);
    z[3] = NAME(lane_sum)(s3, h3);
    for (; k < d; k++)
        for (int r = 0; r < 4; r++)
            z[r] += rows[r][k] * x[k];
}

/* g += sum_r w[r] rows[r] */
static inline void NAME(add4)(const REAL *const rows[4], const REAL w[4], int64_t d, REAL *g)
{
    int64_t k = 0;
#define ADD(type, width)                                                                          \
    for (; k + (width) <= d; k += (width))                                                        \
        *(type *)(g + k) += (w[0] * *(const type *)(rows[0] + k) + w[1] * *(const type *)(rows[1] + k)) \
                          + (w[2] * *(const type *)(rows[2] + k) + w[3] * *(const type *)(rows[3] + k));
    ADD(NAME(vector), LANES)
    ADD(NAME(half), LANES / 2)
    ADD(REAL, 1)
#undef ADD
}

/* One node with dense rows. index (or NULL for the first `count` rows) names the samples.
   x, gradient: (outputs, d). margins: BLOCK_ROWS x outputs doubles, aligned to 64 bytes. */
static void NAME(dense_node)(const linear_model *model, const REAL *A, const REAL *b, const int64_t *index,
                             int64_t count, const REAL *x, REAL *gradient, double *value, double *margins)
{
    const int64_t d = model->features, outputs = model->outputs;
    const int64_t block = block_rows(d * (int64_t)sizeof(REAL));
    double total = 0;
    REAL targets[BLOCK_ROWS], z[4], w[4];
    const REAL *rows[BLOCK_ROWS + 3];

    if (gradient)
        memset(gradient, 0, (size_t)(outputs * d) * sizeof(REAL));
    for (int64_t start = 0; start < count; start += block) {
        const int64_t size = count - start < block ? count - start : block;
        for (int64_t j = 0; j < size; j++) {
            const int64_t row = index ? index[start + j] : start + j;
            rows[j] = A + row * d;
            targets[j] = b[row];
        }
        for (int64_t j = size; j % 4; j++)
            rows[j] = rows[0]; /* weight 0 below */
        for (int64_t j = 0; j < size; j += 4)
            for (int64_t c = 0; c < outputs; c++) {
                NAME(dot4)(rows + j, x + c * d, d, z);
                for (int64_t r = 0; r < 4; r++)
                    margins[(j + r) * outputs + c] = z[r];
            }
        total += NAME(derivatives)(model, targets, size, margins, value != NULL);
        if (!gradient)
            continue;
        for (int64_t j = 0; j < size; j += 4)
            for (int64_t c = 0; c < outputs; c++) {
                for (int64_t r = 0; r < 4; r++)
                    w[r] = j + r < size ? (REAL)margins[(j + r) * outputs + c] : 0;
                NAME(add4)(rows + j, w, d, gradient + c * d);
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
        total += NAME(derivatives)(model, b + row, 1, margins, value != NULL);
        if (!gradient)
            continue;
        for (int64_t c = 0; c < outputs; c++)
            for (int64_t e = starts[row]; e < starts[row + 1]; e++)
                gradient[c * d + columns[e]] += (REAL)margins[c] * data[e];
    }
    NAME(finish_node)(model, count, x, gradient, total, value);
}

#undef LANES
