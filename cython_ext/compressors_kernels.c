/* Everything between vectors and messages. A new wire format is two lines here: its header, and its name in the list,
   with the key that it cannot do without. */
#include <string.h>
#include "compressors_kernels.h"
#include "rotation.h"

#include "levels.h"
#include "natural.h"
#include "random_k.h"
#include "short_floats.h"
#include "signs.h"
#include "top_k.h"
#include "uniform_grid.h"

static const wire_format wire_formats[] = {
    WIRE_FORMAT(levels, NO_KEY)
    WIRE_FORMAT(natural, KEY_TO_ENCODE)
    WIRE_FORMAT(random_k, KEY_ALWAYS)
    WIRE_FORMAT(short_floats, NO_KEY)
    WIRE_FORMAT(signs, NO_KEY)
    WIRE_FORMAT(top_k, NO_KEY)
    WIRE_FORMAT(uniform_grid, NO_KEY)
};

/* NULL if there is none. */
static const wire_format *find_wire_format(const char *name)
{
    for (size_t i = 0; i < sizeof wire_formats / sizeof *wire_formats; i++)
        if (!strcmp(wire_formats[i].name, name))
            return wire_formats + i;
    return NULL;
}

DEFINE_REAL_KERNELS(compressors, COMPRESSORS_KERNELS)
