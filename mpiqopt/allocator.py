"""Memory: how much there is, and the C library's allocator, set for a loop that makes large arrays again and again."""

import ctypes
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

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


def require_memory(size: float, what: str) -> None:
    """Raise MemoryError if ``size`` bytes, as ``what`` takes, are more than this machine has.

    Linux grants what it does not have, and ends a process that uses it, without a word.
    """
    if size > memory():
        raise MemoryError(f"{what} take {size / 1e9:.4g} GB, there are {memory() / 1e9:.3g} GB")


@cache
def memory() -> float:
    """Bytes of this machine, or of the container or limit (ulimit -v) that this process is in."""
    import resource

    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    limits += [address_space] * (address_space != resource.RLIM_INFINITY)
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max": there is none
            limits.append(int(Path(file).read_text()))
    return min(limits)
