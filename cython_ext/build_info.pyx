"""What the kernels were compiled for."""

cdef extern from *:
    """
    #ifndef MPIQOPT_MARCH
    #define MPIQOPT_MARCH "unknown"
    #endif
    #if defined(__AVX512F__)
    #define MPIQOPT_VECTORS "AVX-512"
    #elif defined(__AVX2__)
    #define MPIQOPT_VECTORS "AVX2"
    #elif defined(__AVX__)
    #define MPIQOPT_VECTORS "AVX"
    #elif defined(__SSE2__)
    #define MPIQOPT_VECTORS "SSE2"
    #elif defined(__ARM_FEATURE_SVE)
    #define MPIQOPT_VECTORS "SVE"
    #elif defined(__ARM_NEON)
    #define MPIQOPT_VECTORS "NEON"
    #else
    #define MPIQOPT_VECTORS "scalar"
    #endif
    #if defined(__GNUC__) && !defined(__clang__)
    #define MPIQOPT_COMPILER "GCC " __VERSION__
    #else
    #define MPIQOPT_COMPILER __VERSION__
    #endif
    """
    const char* MPIQOPT_MARCH
    const char* MPIQOPT_VECTORS
    const char* MPIQOPT_COMPILER

MARCH = MPIQOPT_MARCH.decode()
VECTORS = MPIQOPT_VECTORS.decode()
COMPILER = MPIQOPT_COMPILER.decode()
