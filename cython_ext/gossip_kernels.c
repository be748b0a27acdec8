/* Weighted sums of rows. */
#include "weighted_sums.h"

DEFINE_REAL_KERNELS(gossip, GOSSIP_KERNELS)
