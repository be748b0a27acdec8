/* Messages of a uniform grid, of a fixed size, to shorter ones and back.

   The shorter message is the scale, if there is one, and the codes less ``centre`` as a packed vector (packed.h), by a
   coder or in tiles. Where the scale is 0 all codes are, and the scale is all. */
#include "message_coder_kernels.h"
#include "reader.h"

#define VALUE int32_t
#define CODE uint32_t
#define NAME(name) name##_32
#include "packing.h"
#include "coders.h"
#undef VALUE
#undef CODE
#undef NAME

static int is_zero(const message_layout *m, const uint8_t *message)
{
    return m->scale_bytes && read_scale(message) == 0;
}

/* Bytes written to ``out``; up to packed_capacity(d) bytes behind the scale change. values: of d values, overwritten. */
static int64_t shorten(const message_layout *m, const uint8_t *message, int32_t *values, uint8_t *out)
{
    uint8_t bytes[TILE];
    uint32_t words[TILE];
    memcpy(out, message, (size_t)m->scale_bytes);
    if (is_zero(m, message))
        return m->scale_bytes;
    message += m->scale_bytes;
    for (int64_t at = 0; at < m->d; at += TILE) {
        const int size = tile_size(m->d, at);
        const uint8_t *piece = message + packed_size(at, m->bits);
        if (m->bits <= 8) {
            unpack_bytes(piece, bytes, size, m->bits);
            for (int j = 0; j < size; j++)
                values[at + j] = bytes[j] - m->centre;
        } else {
            unpack_words(piece, words, size, m->bits);
            for (int j = 0; j < size; j++)
                values[at + j] = (int32_t)words[j] - m->centre;
        }
    }
    return m->scale_bytes + pack_vector_32(values, m->d, m->coder, out + m->scale_bytes);
}

/* Codes of values; returns ones where a value has no code of these bits. */
static uint32_t codes_of(const int32_t *values, int size, int32_t centre, int bits, uint32_t *words)
{
    uint32_t beyond = 0;
    for (int j = 0; j < size; j++) {
        words[j] = (uint32_t)(values[j] + centre);
        beyond |= words[j] >> bits;
    }
    return beyond;
}

/* The reverse; bytes read, or -1 if they are no such message or go beyond what is ``available``. */
static int64_t restore(const message_layout *m, const uint8_t *in, int64_t available, int32_t *values, uint8_t *message)
{
    const uint8_t *const packed = in + m->scale_bytes;
    uint8_t bytes[TILE];
    uint32_t words[TILE], beyond = 0;
    int widest = 0;
    if (available < m->scale_bytes)
        return -1;
    memcpy(message, in, (size_t)m->scale_bytes);
    if (is_zero(m, in)) {
        memset(message, 0, (size_t)message_bytes(m));
        return m->scale_bytes;
    }
    message += m->scale_bytes;
    memset(values, 0, sizeof *values * (size_t)m->d);
    const int64_t read = packed_length(packed, available - m->scale_bytes, m->d, &widest);
    if (read < 0 || widest > m->bits + 1 || add_packed_32(packed, read, m->d, values) != read)
        return -1;
    for (int64_t at = 0; at < m->d; at += TILE) {
        const int size = tile_size(m->d, at);
        uint8_t *const piece = message + packed_size(at, m->bits);
        beyond |= codes_of(values + at, size, m->centre, m->bits, words);
        if (m->bits <= 8) {
            for (int j = 0; j < size; j++)
                bytes[j] = (uint8_t)words[j];
            pack_bytes(bytes, piece, size, m->bits);
        } else {
            pack_words(words, piece, size, m->bits);
        }
    }
    return beyond ? -1 : m->scale_bytes + read;
}

DEFINE_KERNELS(message_coder, MESSAGE_CODER_KERNELS)
