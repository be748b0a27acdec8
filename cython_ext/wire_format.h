/* A wire format: three functions of one vector and its message, and numbers that they depend on.

   A header NAME.h has a struct NAME of doubles, its parameters, and functions NAME_nbytes, NAME_encode, NAME_decode of
   the types below, which begin by giving the pointers to void their types. WIRE_FORMAT(NAME, needs) is an entry for the
   list in compressors_kernels.c. */
#ifndef WIRE_FORMAT_H
#define WIRE_FORMAT_H
#include <stdint.h>

enum { MOST_PARAMETERS = 20 };

/* What cannot be done without the key of a message, and is refused without one. */
enum { NO_KEY, KEY_TO_ENCODE, KEY_ALWAYS };

typedef struct {
    const char *name;
    int parameters; /* how many doubles */
    int needs;      /* which key */
    /* Bytes of the message of d values. */
    int64_t (*nbytes)(const void *parameters, int64_t d);
    /* Write every byte of the message of x, d values of type real. Returns 0, or -1 if a value is not finite.
       key: of the message's random words; NULL: round to nearest. */
    int (*encode)(const void *parameters, const void *x, int64_t d, const uint64_t *key, uint8_t *message);
    /* Write x, d values of type real. Any bytes are a message: broken ones must do no harm. */
    void (*decode)(const void *parameters, const uint8_t *message, int64_t d, const uint64_t *key, void *x);
} wire_format;

#define WIRE_FORMAT(name, needs) \
    {#name, sizeof(name) / sizeof(double), needs, name##_nbytes, name##_encode, name##_decode},
#endif
