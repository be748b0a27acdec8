/* Frames: what nodes say to each other. The layout is known here and nowhere else.

   A box of bytes for a process holds frames, one after the other. A frame is

       key      number   number of the link << 3 | kind. The receiving process numbers links: those into its nodes, or
                         those out of them for kinds that acknowledge (frame_goes_in)
       call     number   numbered links (mailboxes) only: the call that the frame belongs to
       count    number   numbered links only: which of the link's frames of pieces it is, or which stage of a vote
       tries    uint8    unreliable links only: how often it was sent before; an acknowledgement repeats what it heard
       z        number   kind PIECES only: the weight of the pieces; kind PIECE is PIECES with z = 1
       payload           PIECES and PIECE: a packed vector; EXTREMES: two (packed.h); the other kinds: nothing

   A key with kind 0 is followed by a byte with the kind, FIND or a later one, and then numbers only:

       count    number   numbered links only: the stage
       author, up, down, child

   A number has 7 bits a byte, the lowest first (packed.h). call is the same at the nodes that take part in it, one more
   at a neighbour that is ahead; call and count wrap at 2^32. */
#ifndef FRAMES_H
#define FRAMES_H
#include "packed.h"

enum frame_kind {
    PIECES = 1,
    STAGE,    /* the sender has entered a stage of a vote */
    EXTREMES, /* the same, with the smallest and largest values that it knows */
    APART,    /* the same: values are too far apart for an agreement, whatever they are */
    PIECES_HEARD,
    STAGE_HEARD,
    PIECE,
    /* beyond three bits: */
    FIND, /* what the sender knows of the tree that nodes look for, and whether it is a child of the receiver there */
    FOUND, /* the same, from the receiver of a link to its sender */
    NEWS, /* what the sender knows of the author of a ledger: count is the ballot, author the number of its last word, up
             as in FIND, down how many results the sender has */
    NEWS_BACK, /* the same, from the receiver of a link to its sender */
    ASK,       /* the receiver of a link wants results from number down on, or none: child is 1 or 0 */
    KINDS_END
};

/* What frames are counted as: FRAME_KINDS in mpiqopt/coordination/traffic.py names that, in this order. */
enum frame_count { COUNT_PIECES, COUNT_VOTES, COUNT_HEARD, COUNT_FIND, COUNT_NEWS, COUNT_REPEATED, FRAME_COUNTS };

/* That by kind of a frame. Every kind has a line here: one that is missing at the end does not compile. */
static const uint8_t frame_counts[] = {
    [PIECES] = COUNT_PIECES,
    [STAGE] = COUNT_VOTES,
    [EXTREMES] = COUNT_VOTES,
    [APART] = COUNT_VOTES,
    [PIECES_HEARD] = COUNT_HEARD,
    [STAGE_HEARD] = COUNT_HEARD,
    [PIECE] = COUNT_PIECES,
    [FIND] = COUNT_FIND,
    [FOUND] = COUNT_FIND,
    [NEWS] = COUNT_NEWS,
    [NEWS_BACK] = COUNT_NEWS,
    [ASK] = COUNT_NEWS,
};
_Static_assert(sizeof frame_counts == KINDS_END, "every kind of frame is counted as something");

typedef struct {
    uint32_t edge;  /* number of the link at the receiving process */
    uint32_t place; /* the same among the links of the receiving node; not sent */
    uint32_t kind, call, count;
    uint8_t tries; /* sent of kinds up to PIECE */
    uint64_t z;
    uint32_t author;   /* FIND: the node that sums should go to, as far as the sender knows */
    uint32_t up, down; /* 1 + the links of a way from the sender to the author, and back; 0: the sender knows none */
    uint32_t child;    /* what the receiver is to do for the sender: bits, 1 to wait for sums of it, 2 to send it results */
} frame_header;

/* Which of the optional fields headers have. */
typedef struct {
    int numbered, unreliable;
} frame_format;

/* Numbers behind the byte with the kind, and most bytes of a header. */
#define FIELDS 5
#define HEADER_MOST (NUMBER_MOST + 1 + FIELDS * NUMBER_MOST)

/* True if a frame goes from the sender of a link to its receiver, False if it acknowledges. */
static inline int frame_goes_in(uint32_t kind)
{
    return kind <= APART || kind == FIND || kind == NEWS;
}

/* What a frame is counted as. An acknowledgement bears the tries of what it heard, and is none itself. */
static inline int count_of_frame(const frame_header *h)
{
    const int count = frame_counts[h->kind];
    return h->tries && count != COUNT_HEARD ? COUNT_REPEATED : count;
}

static inline uint32_t kind_on_the_way(const frame_header *h)
{
    return h->kind == PIECES && h->z == 1 ? PIECE : h->kind;
}

/* Write what follows the key of a kind with fields, FIND or later; bytes written. */
static inline int64_t write_fields(const frame_header *h, frame_format format, uint8_t *out)
{
    const uint32_t fields[FIELDS] = {h->count, h->author, h->up, h->down, h->child};
    int64_t at = 0;
    out[at++] = (uint8_t)h->kind;
    for (int k = !format.numbered; k < FIELDS; k++)
        at += put_number(fields[k], out + at);
    return at;
}

/* Read that; bytes read, or -1 if there is none. */
static inline int64_t read_fields(const uint8_t *in, int64_t size, frame_format format, frame_header *h)
{
    uint32_t *fields[FIELDS] = {&h->count, &h->author, &h->up, &h->down, &h->child};
    int64_t at = 1;
    if (size < 1 || *in < FIND || *in > ASK)
        return -1;
    h->kind = *in;
    for (int k = !format.numbered; k < FIELDS; k++) {
        uint64_t field;
        const int bytes = get_number(in + at, size - at, &field);
        if (bytes < 0 || field >> 32)
            return -1;
        *fields[k] = (uint32_t)field;
        at += bytes;
    }
    return at;
}

/* Write a header; bytes written. */
static inline int64_t write_header(const frame_header *h, frame_format format, uint8_t *out)
{
    const uint32_t kind = kind_on_the_way(h);
    int64_t at = put_number((uint64_t)h->edge << 3 | (kind < FIND ? kind : 0), out);
    if (kind >= FIND)
        return at + write_fields(h, format, out + at);
    if (format.numbered) {
        at += put_number(h->call, out + at);
        at += put_number(h->count, out + at);
    }
    if (format.unreliable)
        out[at++] = h->tries;
    return kind == PIECES ? at + put_number(h->z, out + at) : at;
}

/* Bytes that a frame would have more with its link numbered among those of the receiving node only: traffic is counted
   as if every node had a process of its own, so that it does not depend on the number of ranks. */
static inline int64_t excess_of_place(const frame_header *h)
{
    return number_size((uint64_t)h->place << 3) - number_size((uint64_t)h->edge << 3);
}

/* Read a header from ``size`` bytes; bytes read, or -1 if there is none. call: what unnumbered frames belong to. */
static inline int64_t read_header(const uint8_t *in, int64_t size, frame_format format, uint32_t call, frame_header *h)
{
    uint64_t key;
    int64_t at = get_number(in, size, &key);
    *h = (frame_header){.edge = (uint32_t)(key >> 3), .kind = key & 7, .call = call, .z = 1};
    if (at < 0 || key >> 32)
        return -1;
    if (h->kind == 0) {
        const int64_t bytes = read_fields(in + at, size - at, format, h);
        return bytes < 0 ? -1 : at + bytes;
    }
    if (format.numbered) {
        uint32_t *numbers[] = {&h->call, &h->count};
        for (int k = 0; k < 2; k++) {
            uint64_t number;
            const int bytes = get_number(in + at, size - at, &number);
            if (bytes < 0 || number >> 32)
                return -1;
            *numbers[k] = (uint32_t)number;
            at += bytes;
        }
    }
    if (format.unreliable) {
        if (at == size)
            return -1;
        h->tries = in[at++];
    }
    if (h->kind == PIECE) {
        h->kind = PIECES;
    } else if (h->kind == PIECES) {
        const int bytes = get_number(in + at, size - at, &h->z);
        return bytes < 0 ? -1 : at + bytes;
    }
    return at;
}

/* Write another number of tries into a whole frame of an unreliable link. */
static inline void set_tries(uint8_t *frame, uint8_t tries)
{
    for (int numbers = 0; numbers < 3; numbers++) { /* the key, the call and the count */
        while (*frame & 128)
            frame++;
        frame++;
    }
    *frame = tries;
}
#endif
