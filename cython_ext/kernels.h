/* Tables of kernels, one for each level of instruction sets: setup.py compiles NAME_kernels.c once a level, with LEVEL
   its name, and everything else once, for any processor of the kind. LEVELS(EACH, ...) lists the levels of the build.

   NAME_kernels.h lists the functions of a table as LIST(EACH), EACH(type, name, arguments), and declares it. */
#ifndef KERNELS_H
#define KERNELS_H
#ifdef __FAST_MATH__
#error "-ffast-math changes what is computed"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "messages are little-endian, as they are in memory"
#endif

#define KERNELS_PASTE(name, level) name##_##level
#define KERNELS_JOIN(name, level) KERNELS_PASTE(name, level)
#define KERNEL_FIELD(type, name, arguments) type(*name) arguments;
#define KERNEL_ENTRY(type, name, arguments) .name = name,
#define KERNEL_TABLE(name, level) \
    extern const struct name##_kernels name##_##level __attribute__((visibility("hidden")));
#define KERNEL_ADDRESS(name, level) &name##_##level,

/* The type of a table; for what uses it NAME_tables, in the order of the levels. */
#define DECLARE_KERNELS(name, LIST) \
    typedef struct name##_kernels { \
        LIST(KERNEL_FIELD) \
    } name##_kernels; \
    LEVELS(KERNEL_TABLE, name) \
    static const struct name##_kernels *const name##_tables[] __attribute__((unused)) = {LEVELS(KERNEL_ADDRESS, name)};

/* The table of this level. */
#define DEFINE_KERNELS(name, LIST) const struct name##_kernels KERNELS_JOIN(name, LEVEL) = {LIST(KERNEL_ENTRY)};
#endif
