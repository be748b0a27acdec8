/* The type of coordinates, float64 or float32, and vectors of it: kernels are compiled once for each (kernels.h). */
#ifndef REAL_H
#define REAL_H
#include "vectors.h"

#if REAL_BITS == 64
typedef double real;
typedef int64_t real_word; /* the integer of the same size */
#elif REAL_BITS == 32
typedef float real;
typedef int32_t real_word;
#else
#error "compile with REAL_BITS = 64 or 32"
#endif

typedef real reals __attribute__((vector_size(VECTOR), aligned(sizeof(real)), may_alias));
typedef real_word real_masks __attribute__((vector_size(VECTOR), aligned(sizeof(real)), may_alias));
enum { REALS = VECTOR / sizeof(real) };

/* As many values as fit a vector of doubles. */
typedef real reals_of_doubles __attribute__((vector_size(DOUBLES * sizeof(real)), aligned(sizeof(real)), may_alias));

INLINE doubles load_doubles(const real *x)
{
    return __builtin_convertvector(*(const reals_of_doubles *)x, doubles);
}

/* v[index] in each lane. clang has no shuffle by a variable; where lanes are constants, it makes one of the loop. */
INLINE reals permuted(reals v, real_masks index)
{
#ifdef __clang__
    reals out;
    for (int l = 0; l < REALS; l++)
        out[l] = v[index[l]];
    return out;
#else
    return __builtin_shuffle(v, index);
#endif
}
#endif
