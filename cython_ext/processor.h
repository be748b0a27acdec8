/* What the processor at hand has of what the kernels of a level were compiled for. */
#ifndef PROCESSOR_H
#define PROCESSOR_H
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#define FEATURES_OF(name, level) extern const char *const name##_##level __attribute__((visibility("hidden")));
LEVELS(FEATURES_OF, features)
#define FEATURES_ADDRESS(name, level) name##_##level,
#define LEVEL_NAME(name, level) #level,
static const char *const level_names[] = {LEVELS(LEVEL_NAME, )};
enum { LEVEL_COUNT = sizeof level_names / sizeof *level_names };

/* The features of a level, as words. */
static const char *level_features(int level)
{
    const char *const features[] = {LEVELS(FEATURES_ADDRESS, features)};
    return features[level];
}

/* True if the processor, and the system, can do it. Names are those of processor_kernels.c. */
static int processor_has(const char *feature)
{
#if defined(__x86_64__) || defined(__i386__)
    unsigned a, b, c = 0, d;
    __builtin_cpu_init();
#define BUILTIN(name) \
    if (!strcmp(feature, name)) \
        return __builtin_cpu_supports(name) != 0;
    BUILTIN("sse3")
    BUILTIN("ssse3")
    BUILTIN("sse4.1")
    BUILTIN("sse4.2")
    BUILTIN("popcnt")
    BUILTIN("avx")
    BUILTIN("avx2")
    BUILTIN("fma")
    BUILTIN("fma4")
    BUILTIN("xop")
    BUILTIN("bmi")
    BUILTIN("bmi2")
    BUILTIN("avx512f")
    BUILTIN("avx512bw")
    BUILTIN("avx512cd")
    BUILTIN("avx512dq")
    BUILTIN("avx512vl")
    BUILTIN("avx512ifma")
    BUILTIN("avx512vbmi")
    BUILTIN("avx512vbmi2")
    BUILTIN("avx512vnni")
    BUILTIN("avx512bitalg")
    BUILTIN("avx512vpopcntdq")
    BUILTIN("gfni")
#undef BUILTIN
    if (!strcmp(feature, "lzcnt"))
        return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c >> 5 & 1);
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    if (!strcmp(feature, "movbe"))
        return c >> 22 & 1;
    return !strcmp(feature, "f16c") && (c >> 29 & 1) && __builtin_cpu_supports("avx");
#else
    (void)feature;
    return 0;
#endif
}
#endif
