/* Sums of one-bit messages. */

#define PLANES 17 /* counts up to 2^17 - 1 messages */

/* counts_j = number of messages whose bit j is set: 512 coordinates at a time, in bit planes, so that adding a message
   costs a few operations for 64 coordinates. messages: n rows, ``stride`` bytes apart, of (d + 7) / 8 bytes. */
static void count_votes(const uint8_t *messages, int64_t n, int64_t stride, int64_t d, int32_t *counts)
{
    for (int64_t start = 0; start < d; start += 512) {
        const int64_t size = d - start < 512 ? d - start : 512;
        const size_t bytes = (size_t)(size + 7) / 8;
        uint64_t planes[PLANES][8] = {{0}};
        int used = 0;
        for (int64_t i = 0; i < n; i++) {
            uint64_t carry[8] = {0}, any = 1;
            memcpy(carry, messages + i * stride + start / 8, bytes);
            for (int p = 0; any; p++) {
                any = 0;
                for (int k = 0; k < 8; k++) {
                    const uint64_t both = planes[p][k] & carry[k];
                    planes[p][k] ^= carry[k];
                    carry[k] = both;
                    any |= both;
                }
                used = p + 1 > used ? p + 1 : used;
            }
        }
        for (int64_t j = 0; j < size; j++) {
            int32_t count = 0;
            for (int p = 0; p < used; p++)
                count |= (int32_t)(planes[p][j / 64] >> j % 64 & 1) << p;
            counts[start + j] = count;
        }
    }
}
