/* The losses of linear models at given margins, and their derivatives; all in double. */
#ifndef LOSS_H
#define LOSS_H
#include <string.h>
#include "losses_kernels.h"
#include "vectors.h"

static inline int64_t multiple_of_8(int64_t n) { return (n + 7) & ~(int64_t)7; }

/* exp(x) for x <= 0 to about 1 ulp: 2^k (Taylor series of exp on [-log(2)/2, log(2)/2], degree 13, truncated below
   1e-17). Values under -708 give exp(-708). */
INLINE doubles exp_of(doubles x)
{
    static const double inverse_factorial[] = {
        1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0,
        1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0};
    const double round_to_integer = 0x1.8p52;
    const doubles lowest = (doubles){0} - 708;
    x = doubles_where(x < lowest, lowest, x);
    const doubles t = x * 0x1.71547652b82fep0 + round_to_integer;
    const doubles k = t - round_to_integer;
    const doubles r = (x - k * 0x1.62e42fefa3800p-1) - k * 0x1.ef35793c76730p-45;
    doubles p = r * inverse_factorial[0] + inverse_factorial[1];
    for (int term = 2; term < 14; term++)
        p = p * r + inverse_factorial[term];
    return p * (doubles)(((longs)t << 52) + ((int64_t)1023 << 52));
}

/* v <- exp(v) for v <= 0, n rounded up to a multiple of 8 of them. */
static inline void exp_nonpositive(double *v, int64_t n)
{
    for (int64_t i = 0; i < n; i += DOUBLES)
        *(doubles *)(v + i) = exp_of(*(doubles *)(v + i));
}

/* log(x) for x >= 1 to about 1 ulp: x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)], log(1 + f) by a polynomial
   in s = f/(2 + f) (FreeBSD's e_log.c). The library's logarithm differs between processors in the last bit. */
INLINE doubles log_of(doubles x)
{
    static const double c[] = {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                               2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                               1.479819860511658591e-01};
    const longs bits = (longs)x + (int64_t)(0x3FF0000000000000 - 0x3FE6A09E00000000);
    const longs exponent = (longs)((unsigned_longs)bits >> 52);
    const doubles k = (doubles)(exponent + 0x4330000000000000) - (0x1p52 + 1023); /* as the last bits of 2^52 */
    const doubles f = (doubles)((bits & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E00000000) - 1;
    const doubles s = f / (2 + f), z = s * s, w = z * z;
    const doubles odd = z * (c[0] + w * (c[2] + w * (c[4] + w * c[6])));
    const doubles even = w * (c[1] + w * (c[3] + w * c[5]));
    const doubles half = 0.5 * f * f;
    const doubles low = s * (half + (odd + even)) + k * 1.90821492927058770002e-10;
    return k * 6.93147180369123816490e-01 - ((half - low) - f) + (x - x); /* not finite if x is not */
}

/* v <- log(v) for v >= 1, n rounded up to a multiple of 8 of them. */
static inline void log_each(double *v, int64_t n)
{
    for (int64_t i = 0; i < n; i += DOUBLES)
        *(doubles *)(v + i) = log_of(*(doubles *)(v + i));
}

/* log(1 + x) for x >= 0: what 1 + x loses is added again. */
INLINE doubles log_one_plus(doubles x)
{
    const doubles u = 1 + x;
    return log_of(u) + (x - (u - 1)) / u;
}

/* z <- z - max z */
static inline void softmax_row(double *z, int64_t outputs)
{
    double largest = z[0];
    for (int64_t c = 1; c < outputs; c++)
        largest = z[c] > largest ? z[c] : largest;
    for (int64_t c = 0; c < outputs; c++)
        z[c] -= largest;
}

/* log(1 + exp(-t)) and its derivative in the margin, t = target * margin. */
static double logistic(const double *targets, int64_t size, double *margins, const int valued)
{
    const doubles one = (doubles){0} + 1;
    double total = 0, losses[BLOCK_ROWS];
    for (int64_t j = size; j < multiple_of_8(size); j++)
        margins[j] = 0;
    for (int64_t j = 0; j < size; j += DOUBLES) {
        doubles *margin = (doubles *)(margins + j);
        const doubles target = *(const doubles *)(targets + j), t = target * *margin;
        const doubles e = exp_of((doubles)((longs)*margin | INT64_MIN)); /* of -|margin| */
        if (valued)
            *(doubles *)(losses + j) = log_one_plus(e) + doubles_where(t < 0, -t, (doubles){0});
        *margin = -target * doubles_where(t < 0, one, e) / (1 + e);
    }
    for (int64_t j = 0; valued && j < size; j++)
        total += losses[j];
    return total;
}

/* -log of the softmax at the target, and its derivative in the margins. */
static double softmax(const double *targets, int64_t size, int64_t outputs, double *margins, int valued)
{
    double total = 0, sums[BLOCK_ROWS];
    for (int64_t j = 0; j < size; j++) {
        double *z = margins + j * outputs;
        softmax_row(z, outputs);
        if (valued)
            total -= z[(int64_t)targets[j]];
    }
    for (int64_t j = size * outputs; j < multiple_of_8(size * outputs); j++)
        margins[j] = 0;
    exp_nonpositive(margins, size * outputs);
    for (int64_t j = 0; j < size; j++) {
        double *p = margins + j * outputs, sum = 0;
        for (int64_t c = 0; c < outputs; c++)
            sum += p[c];
        sums[j] = sum;
        for (int64_t c = 0; c < outputs; c++)
            p[c] /= sum;
        p[(int64_t)targets[j]] -= 1;
    }
    if (valued) {
        for (int64_t j = size; j < multiple_of_8(size); j++)
            sums[j] = 1;
        log_each(sums, size);
        for (int64_t j = 0; j < size; j++)
            total += sums[j];
    }
    return total;
}

/* margins -> derivatives in place; returns the sum of the losses if ``valued``. Of both arrays there is a multiple of 8,
   and targets behind the last are zero. */
static double derivatives(const linear_model *model, const double *targets, int64_t size, double *margins, int valued)
{
    double total = 0;
    if (model->loss == LOGISTIC)
        return valued ? logistic(targets, size, margins, 1) : logistic(targets, size, margins, 0);
    if (model->loss == SOFTMAX)
        return softmax(targets, size, model->outputs, margins, valued);
    for (int64_t j = 0; j < size; j++) {
        margins[j] -= targets[j];
        total += 0.5 * margins[j] * margins[j];
    }
    return total;
}
#endif
