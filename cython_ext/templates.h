/* Included once for each type of coordinate, REAL, of which WORD is the integer of the same size; NAME(x) makes a name
   of its own. */
typedef REAL NAME(vector) __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));
typedef WORD NAME(mask) __attribute__((vector_size(VECTOR), aligned(sizeof(REAL)), may_alias));
#define LANES ((int)(VECTOR / sizeof(REAL)))

#include "magnitude.h"
#include "bits.h"
#include "grid.h"
#include "signs.h"
#include "rotation.h"
#include "levels.h"
#include "floats.h"
#include "sparse.h"
#undef LANES
