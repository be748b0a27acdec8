"""The levels of instruction sets that the kernels were compiled for, and which of them this processor has."""

cdef extern from "processor.h":
    """
    #if defined(__GNUC__) && !defined(__clang__)
    #define MPIQOPT_COMPILER "GCC " __VERSION__
    #else
    #define MPIQOPT_COMPILER __VERSION__
    #endif
    """
    const char* MPIQOPT_COMPILER
    const char* MPIQOPT_MARCH
    enum: LEVEL_COUNT
    const char** level_names
    const char* level_features(int)
    bint processor_has(const char*)

COMPILER = MPIQOPT_COMPILER.decode()
# what the only level was compiled for, if it was said when building
MARCH = MPIQOPT_MARCH.decode()
# names in ascending order: each level has what those before it have
LEVELS = tuple(level_names[k].decode() for k in range(LEVEL_COUNT))


def lacking(level):
    """Return the features, a list of words, that the kernels of a level may use and this processor has not."""
    words = level_features(LEVELS.index(level)).decode().split()
    return [word for word in words if not processor_has(word.encode())]
