/* Everything between vectors and messages, for float64 and float32. */
#include <float.h>
#include <math.h>
#include "codes.h"
#include "compressors_kernels.h"
#include "hadamard.h"
#include "votes.h"

#define REAL double
#define NAME(name) name##_f64
#include "templates.h"
#undef REAL
#undef NAME
#define REAL float
#define NAME(name) name##_f32
#include "templates.h"
#undef REAL
#undef NAME

DEFINE_KERNELS(compressors, COMPRESSORS_KERNELS)
