/* Everything between vectors and messages, for float64 and float32. */
#include <float.h>
#include <math.h>
#include "codes.h"
#include "compressors_kernels.h"
#include "hadamard.h"
#include "vectors.h"
#include "votes.h"

#define REAL double
#define WORD int64_t
#define NAME(name) name##_f64
#include "templates.h"
#undef REAL
#undef WORD
#undef NAME
#define REAL float
#define WORD int32_t
#define NAME(name) name##_f32
#include "templates.h"
#undef REAL
#undef WORD
#undef NAME

DEFINE_KERNELS(compressors, COMPRESSORS_KERNELS)
