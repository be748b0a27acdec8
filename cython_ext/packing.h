/* Integers of type VALUE to and from the format of packed.h. Included once for each VALUE, of which CODE is the
   unsigned; NAME(x) makes a name of its own. */

typedef VALUE NAME(values) __attribute__((vector_size(sizeof(VALUE) * LANES), aligned(sizeof(VALUE)), may_alias));

static inline CODE NAME(folded)(VALUE v)
{
    return (CODE)v << 1 ^ (CODE)(v >> (8 * sizeof(VALUE) - 1));
}

/* A block as codes of 1 to 32 bits. */
static inline void NAME(pack_block)(const VALUE *v, uint8_t *out, int bits)
{
    lanes pending = {0};
    int filled = 0;
    for (int j = 0; j < BLOCK; j += LANES) {
        const signed_lanes value = __builtin_convertvector(*(const NAME(values) *)(v + j), signed_lanes);
        const lanes code = (lanes)(value << 1 ^ value >> 31);
        pending |= code << filled;
        filled += bits;
        if (filled >= 32) {
            memcpy(out, &pending, sizeof(lanes));
            out += sizeof(lanes);
            filled -= 32;
            pending = filled ? code >> (bits - filled) : (lanes){0};
        }
    }
}

/* The reverse, into v or added to it. */
static inline void NAME(unpack_block)(const uint8_t *in, VALUE *v, int bits, const int add)
{
    const uint32_t mask = 0xFFFFFFFFu >> (32 - bits);
    lanes pending;
    int used = 0;
    memcpy(&pending, in, sizeof(lanes));
    for (int j = 0; j < BLOCK; j += LANES) {
        lanes code = pending >> used;
        used += bits;
        if (used >= 32 && j + LANES < BLOCK) {
            in += sizeof(lanes);
            memcpy(&pending, in, sizeof(lanes));
            used -= 32;
            if (used)
                code |= pending << (bits - used);
        }
        code &= mask;
        const signed_lanes value = (signed_lanes)(code >> 1) ^ -(signed_lanes)(code & 1);
        NAME(values) *into = (NAME(values) *)(v + j);
        *into = __builtin_convertvector(value, NAME(values)) + (add ? *into : (NAME(values)){0});
    }
}

/* What is left of a tile behind its blocks. */
static void NAME(pack_rest)(const VALUE *v, uint8_t *out, int size, int bits)
{
    uint32_t codes[BLOCK];
    for (int j = 0; j < size; j++)
        codes[j] = (uint32_t)NAME(folded)(v[j]);
    pack_words(codes, out, size, bits);
}

static void NAME(unpack_rest)(const uint8_t *in, VALUE *v, int size, int bits, const int add)
{
    uint32_t codes[BLOCK];
    unpack_words(in, codes, size, bits);
    for (int j = 0; j < size; j++)
        v[j] = (VALUE)unfolded(codes[j]) + (add ? v[j] : 0);
}

/* All codes of values, one over the other: how many bits they need. */
static CODE NAME(all_codes)(const VALUE *v, int64_t size)
{
    CODE all = 0;
    for (int64_t j = 0; j < size; j++)
        all |= NAME(folded)(v[j]);
    return all;
}

/* Bytes written; all: as from all_codes. */
static int64_t NAME(pack_tile)(const VALUE *v, int size, CODE all, uint8_t *out)
{
    if (size <= FEW) {
        const uint8_t *begin = out;
        for (int j = 0; j < size; j++)
            out += put_number(NAME(folded)(v[j]), out);
        return out - begin;
    }
    const int bits = width_of(all);
    if (bits > WIDEST) {
        *out = 64;
        memcpy(out + 1, v, sizeof(VALUE) * (size_t)size);
        return 1 + 8 * (int64_t)size;
    }
    *out++ = (uint8_t)bits;
    if (bits) {
        int j = 0;
        for (; j + BLOCK <= size; j += BLOCK)
            NAME(pack_block)(v + j, out + j / 8 * bits, bits);
        NAME(pack_rest)(v + j, out + j / 8 * bits, size - j, bits);
    }
    return 1 + packed_size(size, bits);
}

/* Into v, whose type has to fit the widest code, or added to it; bytes read, -1 if they are not a packed tile
   or go beyond ``available``. */
static inline int64_t NAME(unpack_tile)(const uint8_t *in, int64_t available, int size, VALUE *v, const int add)
{
    int widest = 0;
    const int64_t bytes = tile_length(in, available, size, &widest);
    if (bytes < 0)
        return -1;
    if (size <= FEW) {
        for (int j = 0; j < size; j++) {
            uint64_t code;
            in += get_number(in, bytes, &code);
            v[j] = (VALUE)unfolded(code) + (add ? v[j] : 0);
        }
        return bytes;
    }
    const int bits = *in++;
    int j = 0;
    if (bits == 64) {
        for (; j < size; j++) {
            int64_t value;
            memcpy(&value, in + 8 * j, 8);
            v[j] = (VALUE)value + (add ? v[j] : 0);
        }
    } else if (bits) {
        for (; j + BLOCK <= size; j += BLOCK)
            NAME(unpack_block)(in + j / 8 * bits, v + j, bits, add);
        NAME(unpack_rest)(in + j / 8 * bits, v + j, size - j, bits, add);
    } else if (!add) {
        memset(v, 0, sizeof(VALUE) * (size_t)size);
    }
    return bytes;
}
