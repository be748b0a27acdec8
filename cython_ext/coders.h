/* Vectors of type VALUE to and from packed ones, by any coder. Included once for each VALUE, of which CODE is the
   unsigned; NAME(x) makes a name of its own. */

/* Codes of up to RICE_TILE values; returns all, one over the other. */
static inline CODE NAME(rice_fold)(const VALUE *v, int size, rice_codes *codes)
{
    CODE all = 0;
    codes->size = size;
    if (size == RICE_TILE && VECTOR == 64 && sizeof(VALUE) == 8) {
        longs any = {0};
        for (int j = 0; j < RICE_TILE; j += DOUBLES) {
            const longs own = *(const longs *)(v + j), code = own << 1 ^ own >> 63;
            any |= code;
            store_low_bytes(code, codes->bytes + j);
        }
        for (int j = 0; j < DOUBLES; j++)
            all |= (CODE)any[j];
    } else if (size == RICE_TILE) {
        for (int j = 0; j < RICE_TILE; j++) {
            all |= NAME(folded)(v[j]);
            codes->bytes[j] = (uint8_t)((uint8_t)v[j] << 1 ^ ((int8_t)v[j] >> 7));
        }
    } else {
        memset(codes->bytes, 0, RICE_TILE);
        for (int j = 0; j < size; j++) {
            all |= NAME(folded)(v[j]);
            codes->bytes[j] = (uint8_t)NAME(folded)(v[j]);
        }
    }
    codes->all = all;
    codes->are_bytes = all < 256;
    for (int j = 0; j < size && !codes->are_bytes; j++)
        codes->words[j] = NAME(folded)(v[j]);
    return all;
}

/* The reverse, into v or added to it; true if no code is wider. */
static inline int NAME(rice_unfold)(const rice_codes *codes, int width, VALUE *v, const int add)
{
    const int size = codes->size;
    uint64_t all = 0;
    if (codes->are_bytes) {
        int8_t values[RICE_TILE];
        unsigned_longs any = {0};
        uint64_t wide = 0;
        for (int j = 0; j < RICE_TILE; j++)
            values[j] = (int8_t)(codes->bytes[j] >> 1 ^ -(codes->bytes[j] & 1));
        for (int j = 0; j < RICE_TILE; j += VECTOR)
            any |= *(const unsigned_longs *)(codes->bytes + j);
        for (int j = 0; j < DOUBLES; j++) /* eight codes each */
            wide |= any[j];
        if (width < 8 && wide & (0xFF00ULL >> (8 - width) & 0xFF) * 0x0101010101010101ULL)
            return 0;
        for (int j = 0; j < size; j++)
            v[j] = values[j] + (add ? v[j] : 0);
        return 1;
    }
    for (int j = 0; j < size; j++)
        all |= codes->words[j];
    if (width < 63 && width_of(all) > width)
        return 0;
    for (int j = 0; j < size; j++)
        v[j] = (VALUE)unfolded(codes->words[j]) + (add ? v[j] : 0);
    return 1;
}

/* Bytes of a tile as pack_tile writes it; all: as from all_codes. */
static int64_t NAME(tile_bytes)(const VALUE *v, int size, CODE all)
{
    int64_t bytes = 0;
    if (size > FEW)
        return 1 + packed_size(size, width_of(all) > WIDEST ? 64 : width_of(all));
    for (int j = 0; j < size; j++)
        bytes += number_size(NAME(folded)(v[j]));
    return bytes;
}

static int64_t NAME(pack_tiles)(const VALUE *v, int64_t d, uint8_t *out)
{
    const uint8_t *begin = out;
    for (int64_t at = 0; at < d; at += TILE)
        out += NAME(pack_tile)(v + at, tile_size(d, at), NAME(all_codes)(v + at, tile_size(d, at)), out);
    return out - begin;
}

/* The vector in Golomb-Rice codes; bytes written, the width of the widest code, and the bytes of tiles. */
static int64_t NAME(rice_vector)(const VALUE *v, int64_t d, uint8_t *out, int *width, int64_t *tiles)
{
    const uint8_t *begin = out;
    rice_codes codes;
    CODE widest = 0;
    for (int64_t at = 0; at < d; at += TILE) {
        const int size = tile_size(d, at);
        CODE all = 0;
        for (int j = 0; j < size; j += RICE_TILE) {
            all |= NAME(rice_fold)(v + at + j, size - j < RICE_TILE ? size - j : RICE_TILE, &codes);
            out += rice_encode(&codes, out);
        }
        widest |= all;
        *tiles += NAME(tile_bytes)(v + at, size, all);
    }
    *width = width_of(widest);
    return out - begin;
}

/* The same from the range coder, which gives up where it is not shorter than tiles. */
static int64_t NAME(range_vector)(const VALUE *v, int64_t d, uint8_t *out, int *width, int64_t *tiles)
{
    CODE widest = 0;
    for (int64_t at = 0; at < d; at += TILE) {
        const CODE all = NAME(all_codes)(v + at, tile_size(d, at));
        widest |= all;
        *tiles += NAME(tile_bytes)(v + at, tile_size(d, at), all);
    }
    *width = width_of(widest);
    range_encoder to;
    range_start(&to, out, *tiles);
    for (int64_t j = 0; j < d && to.size < *tiles; j++)
        range_encode_value(&to, v[j]);
    range_end(&to);
    return to.size;
}

/* Bytes written. */
static int64_t NAME(pack_vector)(const VALUE *v, int64_t d, int coder, uint8_t *out)
{
    if (d <= FEW || coder == TILES)
        return NAME(pack_tiles)(v, d, out);
    coded_header h = {.coder = coder};
    int64_t tiles = 0;
    uint8_t *const coded = out + CODED_MOST;
    h.bytes = (coder == RICE ? NAME(rice_vector) : NAME(range_vector))(v, d, coded, &h.width, &tiles);
    if (1 + number_size((uint64_t)h.bytes) + h.bytes >= tiles)
        return NAME(pack_tiles)(v, d, out);
    const int header = put_coded(h, out);
    memmove(out + header, coded, (size_t)h.bytes);
    return header + h.bytes;
}

static int NAME(read_rice)(packed_reader *from, int size, VALUE *v, const int add)
{
    rice_codes codes;
    for (int j = 0; j < size; j += RICE_TILE) {
        codes.size = size - j < RICE_TILE ? size - j : RICE_TILE;
        const int64_t bytes = rice_decode(rice_view(from), from->end - from->in, &codes);
        if (bytes < 0 || !NAME(rice_unfold)(&codes, from->header.width, v + j, add))
            return -1;
        from->in += bytes;
    }
    return 0;
}

static int NAME(read_range)(packed_reader *from, int size, VALUE *v, const int add)
{
    for (int j = 0; j < size; j++) {
        const uint64_t code = range_decode_code(&from->range);
        if (from->header.width < 63 && width_of(code) > from->header.width)
            return -1;
        v[j] = (VALUE)unfolded(code) + (add ? v[j] : 0);
    }
    from->in = from->range.in;
    return 0;
}

/* The next tile of a packed vector, into v, whose type has to fit the widest code, or added to it; -1 if there is none. */
static inline int NAME(read_tile)(packed_reader *from, int size, VALUE *v, const int add)
{
    if (from->header.coder == RICE)
        return NAME(read_rice)(from, size, v, add);
    if (from->header.coder == RANGE)
        return NAME(read_range)(from, size, v, add);
    const int64_t bytes = NAME(unpack_tile)(from->in, from->end - from->in, size, v, add);
    if (bytes < 0)
        return -1;
    from->in += bytes;
    return 0;
}

/* y += the packed vector, whose widest code fits; bytes read or -1. */
static int64_t NAME(add_packed)(const uint8_t *in, int64_t available, int64_t d, VALUE *y)
{
    packed_reader from;
    if (!open_packed(&from, in, available, d))
        return -1;
    for (int64_t at = 0; at < d; at += TILE)
        if (NAME(read_tile)(&from, tile_size(d, at), y + at, 1))
            return -1;
    return closes_packed(&from) ? from.in - in : -1;
}
