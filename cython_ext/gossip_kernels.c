/* Weighted sums of rows, for float64 and float32. */
#include <stddef.h>
#include "gossip_kernels.h"

#define PIECE 1024 /* coordinates handled at a time: the sums stay in the first-level cache */

#define REAL double
#define NAME(name) name##_f64
#include "weighted_sums.h"
#undef REAL
#undef NAME
#define REAL float
#define NAME(name) name##_f32
#include "weighted_sums.h"
#undef REAL
#undef NAME

DEFINE_KERNELS(gossip, GOSSIP_KERNELS)
