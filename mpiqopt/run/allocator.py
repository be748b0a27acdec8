"""The C library's allocator, set for a loop that makes large arrays again and again."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Keep freed memory for the next array instead of giving it back to the system.

    glibc maps every array over 32 MB anew, and the kernel clears its pages at each first touch; at 100,000 nodes that
    took a quarter of the time of an iteration. Elsewhere than on glibc nothing is done.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
