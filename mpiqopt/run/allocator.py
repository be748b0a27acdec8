"""The C library's allocator, set for a loop that makes large arrays again and again."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
# where memory is short: bytes of arrays that are mapped, each by itself; what may be kept; glibc's limit of mappings
LARGE, KEPT, MAPPINGS = 1 << 20, 1 << 23, 1 << 16


def keep_freed_memory() -> None:
    """Keep freed memory for the next array instead of giving it back to the system.

    glibc maps every array over 32 MB anew, and the kernel clears its pages at each first touch; at 100,000 nodes that
    took a quarter of the time of an iteration. Elsewhere than on glibc nothing is done.
    """
    _set(_M_MMAP_MAX, 0)
    _set(_M_TRIM_THRESHOLD, -1)


def return_freed_memory() -> None:
    """Give the memory of every large array back to the system at once, so that a process takes what it has in use.

    What glibc keeps of the tensors of a network comes in pieces that the next ones do not fit in: a step takes up to
    twice the memory that is in use at its peak. Mapped by themselves they cost time, the kernel clears their pages:
    steps of large tensors took a third to a half longer on a virtual machine. Elsewhere than on glibc nothing is done.
    """
    _set(_M_MMAP_MAX, MAPPINGS)
    _set(_M_MMAP_THRESHOLD, LARGE)
    _set(_M_TRIM_THRESHOLD, KEPT)


def memory_is_limited() -> bool:
    """Return True if this process may not take all the memory that the machine has (``ulimit -d`` or ``-v``)."""
    if sys.platform == "win32":
        return False
    from resource import RLIM_INFINITY, RLIMIT_AS, RLIMIT_DATA, getrlimit

    return any(getrlimit(kind)[0] != RLIM_INFINITY for kind in (RLIMIT_AS, RLIMIT_DATA))


def _set(key: int, value: int) -> None:
    """Set what the C library calls a parameter of ``mallopt``, if it is glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(key, value)
