/* The losses of linear models: phi(z, b), its derivative in z, and the smooth regularisers. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "losses_kernels.h"

/* As many rows as stay in the second-level cache between the two uses; a multiple of 4. */
static inline int64_t block_rows(int64_t bytes_per_row)
{
    int64_t rows = (256 * 1024 / (bytes_per_row > 0 ? bytes_per_row : 1)) & ~(int64_t)3;
    return rows < 4 ? 4 : rows > BLOCK_ROWS ? BLOCK_ROWS : rows;
}

typedef double double8 __attribute__((vector_size(64)));
typedef int64_t long8 __attribute__((vector_size(64)));

/* v <- exp(v) for v <= 0, eight at a time, to about 1 ulp: 2^k (Taylor series of exp on
   [-log(2)/2, log(2)/2], degree 13, truncated below 1e-17). Values under -708 give exp(-708). */
static inline void exp_nonpositive(double *v, int64_t n)
{
    static const double inverse_factorial[] = {
        1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0,
        1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0};
    const double round_to_integer = 0x1.8p52;
    const double8 lowest = {-708, -708, -708, -708, -708, -708, -708, -708};
    for (int64_t i = 0; i < n; i += 8) {
        double8 x = *(double8 *)(v + i);
        long8 low = x < lowest;
        x = (double8)(((long8)x & ~low) | ((long8)lowest & low));
        double8 t = x * 0x1.71547652b82fep0 + round_to_integer;
        double8 k = t - round_to_integer;
        double8 r = (x - k * 0x1.62e42fefa3800p-1) - k * 0x1.ef35793c76730p-45;
        double8 p = r * inverse_factorial[0] + inverse_factorial[1];
        for (int term = 2; term < 14; term++)
            p = p * r + inverse_factorial[term];
        *(double8 *)(v + i) = p * (double8)(((long8)t << 52) + ((int64_t)1023 << 52));
    }
}

static inline double softmax_row(double *z, int64_t outputs)
{
    double largest = z[0];
    for (int64_t c = 1; c < outputs; c++)
        largest = z[c] > largest ? z[c] : largest;
    for (int64_t c = 0; c < outputs; c++)
        z[c] -= largest;
    return largest;
}

static inline int64_t multiple_of_8(int64_t n) { return (n + 7) & ~(int64_t)7; }

#define DEFINE_LOSSES(REAL, NAME)                                                                  \
    /* margins -> derivatives in place; returns the sum of the losses if `valued` */               \
    static double NAME(derivatives)(const linear_model *model, const REAL *targets, int64_t size,  \
                                    double *margins, int valued)                                   \
    {                                                                                              \
        const int64_t outputs = model->outputs;                                                    \
        double total = 0;                                                                          \
        if (model->loss == SQUARED) {                                                              \
            for (int64_t j = 0; j < size; j++) {                                                   \
                margins[j] -= targets[j];                                                          \
                total += 0.5 * margins[j] * margins[j];                                            \
            }                                                                                      \
        } else if (model->loss == LOGISTIC) {                                                      \
            double e[BLOCK_ROWS] __attribute__((aligned(64)));                                     \
            for (int64_t j = 0; j < multiple_of_8(size); j++)                                      \
                e[j] = j < size ? -fabs(margins[j]) : 0;                                           \
            exp_nonpositive(e, size);                                                              \
            for (int64_t j = 0; j < size; j++) {                                                   \
                const double t = targets[j] * margins[j];                                          \
                if (valued)                                                                        \
                    total += log1p(e[j]) + (t < 0 ? -t : 0);                                       \
                margins[j] = -targets[j] * (t < 0 ? 1 : e[j]) / (1 + e[j]);                        \
            }                                                                                      \
        } else {                                                                                   \
            for (int64_t j = 0; j < size; j++) {                                                   \
                double *z = margins + j * outputs;                                                 \
                softmax_row(z, outputs);                                                           \
                if (valued)                                                                        \
                    total -= z[(int64_t)targets[j]];                                               \
            }                                                                                      \
            for (int64_t j = size * outputs; j < multiple_of_8(size * outputs); j++)               \
                margins[j] = 0;                                                                    \
            exp_nonpositive(margins, size * outputs);                                              \
            for (int64_t j = 0; j < size; j++) {                                                   \
                double *p = margins + j * outputs, sum = 0;                                        \
                for (int64_t c = 0; c < outputs; c++)                                              \
                    sum += p[c];                                                                   \
                if (valued)                                                                        \
                    total += log(sum);                                                             \
                for (int64_t c = 0; c < outputs; c++)                                              \
                    p[c] /= sum;                                                                   \
                p[(int64_t)targets[j]] -= 1;                                                       \
            }                                                                                      \
        }                                                                                          \
        return total;                                                                              \
    }                                                                                              \
                                                                                                   \
    /* means over the samples, plus l2/2 |x|^2 + nonconvex sum x^2/(1+x^2) */                      \
    static void NAME(finish_node)(const linear_model *model, int64_t count, const REAL *x,         \
                                  REAL *gradient, double total, double *value)                     \
    {                                                                                              \
        const int64_t size = model->features * model->outputs;                                     \
        const REAL share = (REAL)(1.0 / count), l2 = (REAL)model->l2, twice = (REAL)(2 * model->nonconvex); \
        if (gradient && twice == 0)                                                                \
            for (int64_t k = 0; k < size; k++)                                                     \
                gradient[k] = gradient[k] * share + l2 * x[k];                                     \
        else if (gradient)                                                                         \
            for (int64_t k = 0; k < size; k++) {                                                   \
                const REAL q = 1 / (1 + x[k] * x[k]);                                              \
                gradient[k] = gradient[k] * share + l2 * x[k] + twice * x[k] * q * q;              \
            }                                                                                      \
        if (value) {                                                                               \
            double squares = 0, bounded = 0;                                                       \
            for (int64_t k = 0; k < size; k++) {                                                   \
                const double s = (double)x[k] * x[k];                                              \
                squares += s;                                                                      \
                bounded += s / (1 + s);                                                            \
            }                                                                                      \
            *value = total / count;                                                                \
            if (model->l2 > 0) /* 0 times an overflow is no number */                              \
                *value += 0.5 * model->l2 * squares;                                               \
            if (model->nonconvex > 0)                                                              \
                *value += model->nonconvex * bounded;                                              \
        }                                                                                          \
    }

#define DOUBLE_NAME(x) x##_f64
#define FLOAT_NAME(x) x##_f32
DEFINE_LOSSES(double, DOUBLE_NAME)
DEFINE_LOSSES(float, FLOAT_NAME)

#define REAL double
#define NAME(x) x##_f64
#include "linear_model.h"
#undef REAL
#undef NAME
#define REAL float
#define NAME(x) x##_f32
#include "linear_model.h"
#undef REAL
#undef NAME

DEFINE_KERNELS(losses, LOSSES_KERNELS)
