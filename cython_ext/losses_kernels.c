/* The losses of linear models and their gradients. */
#include "linear_model.h"

DEFINE_REAL_KERNELS(losses, LOSSES_KERNELS)
