/* Loss and gradient of one node's linear model, in one pass over its rows.

   A block of rows is read from memory once: its margins z = A x, the derivatives of the loss at z, and the update of the
   gradient all happen while the block is in cache. BLAS would read A twice. The order of every sum depends on the number
   of rows and columns alone (vectors of a fixed width, never on alignment), so a node gets the same bits wherever it is
   hosted. */
#ifndef LINEAR_MODEL_H
#define LINEAR_MODEL_H
#include <stddef.h>
#include <string.h>
#include "loss.h"
#include "losses_kernels.h"
#include "real.h"

/* Of as many rows two blocks stay in the second-level cache between their two uses; a multiple of 4. */
static inline int64_t block_rows(int64_t bytes_per_row)
{
    int64_t rows = (128 * 1024 / (bytes_per_row > 0 ? bytes_per_row : 1)) & ~(int64_t)3;
    return rows < 4 ? 4 : rows > BLOCK_ROWS ? BLOCK_ROWS : rows;
}

/* Rows of so many bytes come from memory rather than from a cache: two blocks at once pay. */
#define LONG_ROW 4096

#define LINE ((int64_t)(64 / sizeof(real))) /* values in 64 bytes */
#define PIECES (64 / VECTOR)                /* registers of 64 bytes */

typedef real half_line __attribute__((vector_size(32), aligned(sizeof(real)), may_alias));
typedef real four __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));
typedef real_word four_lanes __attribute__((vector_size(4 * sizeof(real))));

/* Four lanes of two vectors: 0 to 3 of the first, 4 to 7 of the second. */
#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (four_lanes){__VA_ARGS__})
#endif

/* The lanes of each row's sum: the half is added to the lower ones, and halves to each other, down to four. */
static inline four fold_lanes(const reals s[PIECES], half_line half)
{
    four fours[2];
#if VECTOR == 32
    half = ((half_line)s[0] + half) + (half_line)s[1]; /* without a detour by memory */
#else
    half_line halves[2];
    for (int p = 0; p < PIECES; p++)
        *(reals *)((real *)halves + p * REALS) = s[p];
    half = (halves[0] + half) + halves[1];
#endif
    memcpy(fours, &half, sizeof half);
    if (sizeof(real) == 4)
        fours[0] += fours[1];
    return fours[0];
}

/* The sums of four rows. */
static inline four sums_of_lanes(const reals sums[4][PIECES], const half_line halves[4])
{
    four s[4];
    for (int r = 0; r < 4; r++)
        s[r] = fold_lanes(sums[r], halves[r]);
    /* transposed: lane r belongs to row r */
    const four e0 = PICK(s[0], s[1], 0, 4, 2, 6), e1 = PICK(s[2], s[3], 0, 4, 2, 6);
    const four o0 = PICK(s[0], s[1], 1, 5, 3, 7), o1 = PICK(s[2], s[3], 1, 5, 3, 7);
    return (PICK(e0, e1, 0, 1, 4, 5) + PICK(e0, e1, 2, 3, 6, 7))
         + (PICK(o0, o1, 0, 1, 4, 5) + PICK(o0, o1, 2, 3, 6, 7));
}

/* z[r] = rows[r] . x for four rows at once, and g += sum_r w[r] before[r] for four whose weights are known: while those
   come from memory these, which were read before, keep the processor busy. Either is left out if ``rows`` or ``before``
   is NULL. */
INLINE void pass4(const real *const *rows, const real *x, real z[4], const real *const *before, const real w[4],
                  real *g, int64_t d)
{
    /* copies, which writing to g cannot change */
    const real *a[4], *b[4];
    real weight[4];
    for (int r = 0; r < 4; r++) {
        a[r] = rows ? rows[r] : NULL;
        b[r] = before ? before[r] : NULL;
        weight[r] = before ? w[r] : 0;
    }
    reals s[4][PIECES] = {{{0}}};
    half_line h[4] = {{0}};
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
    for (; k + LINE <= d; k += LINE)
        for (int p = 0; p < PIECES; p++) {
            DOT(s[r][p], reals, k + p * REALS)
            ADD(reals, k + p * REALS)
        }
    if (k + LINE / 2 <= d) {
        DOT(h[r], half_line, k)
        ADD(half_line, k)
        k += LINE / 2;
    }
    if (rows) {
        const four sums = sums_of_lanes((const reals(*)[PIECES])s, h);
        memcpy(z, &sums, sizeof sums);
    }
    for (int rest = 0; rest < LINE / 2 - 1 && k < d; rest++, k++) { /* counted: not worth vectors */
        DOT(z[r], real, k)
        ADD(real, k)
    }
#undef DOT
#undef ADD
}

/* means over the samples, plus l2/2 |x|^2 + nonconvex sum x^2/(1+x^2) */
static void finish_node(const linear_model *model, int64_t count, const real *x, real *gradient, double total,
                        double *value)
{
    const int64_t size = model->features * model->outputs;
    const real share = (real)(1.0 / (double)count), l2 = (real)model->l2, twice = (real)(2 * model->nonconvex);
    if (gradient && twice == 0)
        for (int64_t k = 0; k < size; k++)
            gradient[k] = gradient[k] * share + l2 * x[k];
    else if (gradient)
        for (int64_t k = 0; k < size; k++) {
            const real q = 1 / (1 + x[k] * x[k]);
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
    const real *rows[BLOCK_ROWS + 3];
    double targets[BLOCK_ROWS];
    double *margins;
} row_block;

/* Rows ``start`` .. of the node, of which index (or NULL for the first `count`) names the samples. */
static void take_rows(row_block *block, const real *A, const real *b, const int64_t *index, int64_t start,
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
INLINE void pass_blocks(row_block *now, const row_block *before, const real *x, real *gradient, int64_t d,
                        int64_t outputs)
{
    const int64_t size = now ? now->size : 0, size_before = before ? before->size : 0;
    for (int64_t j = 0; j < size || j < size_before; j += 4)
        for (int64_t c = 0; c < outputs; c++) {
            real z[4] = {0}, w[4] = {0};
            for (int64_t r = 0; r < 4 && j < size_before; r++)
                w[r] = (real)before->margins[(j + r) * outputs + c];
            if (now && before && j < size && j < size_before)
                pass4(now->rows + j, x + c * d, z, before->rows + j, w, gradient + c * d, d);
            else if (now && j < size)
                pass4(now->rows + j, x + c * d, z, NULL, NULL, NULL, d);
            else if (before)
                pass4(NULL, NULL, NULL, before->rows + j, w, gradient + c * d, d);
            for (int64_t r = 0; r < 4 && j < size; r++)
                now->margins[(j + r) * outputs + c] = z[r];
        }
}

/* One node with dense rows. point, gradients: (outputs, d). margins: 2 BLOCK_ROWS x outputs doubles, aligned to 64
   bytes. */
static void dense_node(const linear_model *model, const node_samples *samples, const void *point, void *gradients,
                       double *value, double *margins)
{
    const real *A = samples->values, *b = samples->targets, *x = point;
    real *gradient = gradients;
    const int64_t d = model->features, outputs = model->outputs, *index = samples->index, count = samples->count;
    const int64_t size = block_rows(d * (int64_t)sizeof(real));
    const int long_rows = d * (int64_t)sizeof(real) >= LONG_ROW;
    double total = 0;
    row_block two[2], *now = two, *before = NULL, *free = two + 1;

    if (gradient)
        memset(gradient, 0, (size_t)(outputs * d) * sizeof(real));
    two[0].margins = margins, two[1].margins = margins + BLOCK_ROWS * outputs;
    for (int64_t start = 0; start < count; start += size) {
        take_rows(now, A, b, index, start, count - start < size ? count - start : size, d);
        if (before)
            pass_blocks(now, before, x, gradient, d, outputs);
        else
            pass_blocks(now, NULL, x, gradient, d, outputs);
        total += derivatives(model, now->targets, now->size, now->margins, value != NULL);
        memset(now->margins + now->size * outputs, 0, (size_t)(-now->size & 3) * (size_t)outputs * sizeof(double));
        if (gradient && long_rows)
            before = now, now = free, free = before;
        else if (gradient)
            pass_blocks(NULL, now, x, gradient, d, outputs);
    }
    if (before)
        pass_blocks(NULL, before, x, gradient, d, outputs);
    finish_node(model, count, x, gradient, total, value);
}

/* The same with compressed sparse rows. */
static void sparse_node(const linear_model *model, const node_samples *samples, const void *point, void *gradients,
                        double *value, double *margins)
{
    const real *data = samples->values, *b = samples->targets, *x = point;
    real *gradient = gradients;
    const int32_t *columns = samples->columns;
    const int64_t *starts = samples->starts, *index = samples->index, count = samples->count;
    const int64_t d = model->features, outputs = model->outputs;
    double total = 0;
    if (gradient)
        memset(gradient, 0, (size_t)(outputs * d) * sizeof(real));
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
                gradient[c * d + columns[e]] += (real)margins[c] * data[e];
    }
    finish_node(model, count, x, gradient, total, value);
}
#endif
