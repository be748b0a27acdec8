/* Included once for each type of coordinate. */
#include "magnitude.h"
#include "grid.h"
#include "signs.h"
#include "rotation.h"
#include "levels.h"
#include "floats.h"
#include "sparse.h"
