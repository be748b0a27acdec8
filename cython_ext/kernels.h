/* Tables of kernels, of which one is chosen at run time.

   setup.py compiles NAME_kernels.c once for each level of instruction sets (LEVEL: v2, v3, ...) and, where vectors are
   float64 or float32, once for each of these types (REAL_BITS: 64, 32; see real.h). Each compilation makes one table of
   functions. Everything else is compiled once, for any processor of the kind, and calls functions by these tables:
   NAME_tables[level], or NAME_tables[level][type] with type 0 for float32 and 1 for float64. The level is that of
   mpiqopt/kernels.py. LEVELS(EACH, ...), from setup.py, lists the levels of the build.

   NAME_kernels.h lists the functions of a table as LIST(EACH), EACH(type, name, arguments), and declares the tables.
   Arguments that point to float64 or float32 are `void *` there: so all tables of a list have one C type. */
#ifndef KERNELS_H
#define KERNELS_H
#ifdef __FAST_MATH__
#error "-ffast-math changes what is computed"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "messages are little-endian, as they are in memory"
#endif

#define KERNELS_PASTE(a, b) a##_##b
#define KERNELS_JOIN(a, b) KERNELS_PASTE(a, b)
#define KERNELS_HIDDEN __attribute__((visibility("hidden")))
#define KERNEL_FIELD(type, name, arguments) type(*name) arguments;
#define KERNEL_ENTRY(type, name, arguments) .name = name,

#define KERNELS_TYPE(name, LIST) \
    typedef struct name##_kernels { \
        LIST(KERNEL_FIELD) \
    } name##_kernels;

/* One table a level. */
#define KERNEL_TABLE(name, level) extern const struct name##_kernels name##_##level KERNELS_HIDDEN;
#define KERNEL_ADDRESS(name, level) &name##_##level,
#define DECLARE_KERNELS(name, LIST) \
    KERNELS_TYPE(name, LIST) \
    LEVELS(KERNEL_TABLE, name) \
    static const struct name##_kernels *const name##_tables[] __attribute__((unused)) = {LEVELS(KERNEL_ADDRESS, name)};
#define DEFINE_KERNELS(name, LIST) const struct name##_kernels KERNELS_JOIN(name, LEVEL) = {LIST(KERNEL_ENTRY)};

/* One table a level and type of vectors. */
#define REAL_KERNEL_TABLES(name, level) extern const struct name##_kernels name##_##level##_32 KERNELS_HIDDEN, \
    name##_##level##_64 KERNELS_HIDDEN;
#define REAL_KERNEL_ADDRESSES(name, level) {&name##_##level##_32, &name##_##level##_64},
#define DECLARE_REAL_KERNELS(name, LIST) \
    KERNELS_TYPE(name, LIST) \
    LEVELS(REAL_KERNEL_TABLES, name) \
    static const struct name##_kernels *const name##_tables[][2] __attribute__((unused)) = { \
        LEVELS(REAL_KERNEL_ADDRESSES, name)};
#define DEFINE_REAL_KERNELS(name, LIST) \
    const struct name##_kernels KERNELS_JOIN(KERNELS_JOIN(name, LEVEL), REAL_BITS) = {LIST(KERNEL_ENTRY)};
#endif
