"""How much memory there is, and errors before it is exhausted.

Linux grants memory that it does not have, and kills a process that uses it, without a word to the user. So whatever
follows from sizes in the config is compared with what there is before it is asked for.
"""

import ctypes
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

# of Linux: advice to ``madvise`` that pages are not needed, and what ``/proc/self/clear_refs`` takes to forget the peak
MADV_DONTNEED, FORGET_PEAK = 4, "5"


def require_memory(size: float, what: str) -> None:
    """Raise MemoryError if ``size`` bytes are more than this machine has. what: what takes them, for the message.

    >>> require_memory(1e30, "features of 1e29 samples")
    Traceback (most recent call last):
    MemoryError: features of 1e29 samples take 1e+21 GB, there are ... GB
    """
    if size > memory():
        raise MemoryError(f"{what} take {size / 1e9:.4g} GB, there are {memory() / 1e9:.3g} GB")


@cache
def memory() -> float:
    """Return the bytes of this machine, or of the container or limit (ulimit -v) that this process is in, if less."""
    import resource

    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    limits += [address_space] * (address_space != resource.RLIM_INFINITY)
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max": there is none
            limits.append(int(Path(file).read_text()))
    return min(limits)


def trim_memory() -> None:
    """Give memory that is free back to the system: glibc keeps it, and a peak would not show what takes it again."""
    with suppress(OSError, AttributeError):  # another C library
        _c_library().malloc_trim(0)


@cache
def _c_library() -> ctypes.CDLL:
    """Return what this process is linked with."""
    return ctypes.CDLL(None)


def release_pages(array: np.ndarray) -> None:
    """Give the memory of a contiguous array back to the system, but for its ends; its values are lost.

    Where it was mapped for the array alone, as large arrays are, zeros take no memory until they are written to.
    """
    page = os.sysconf("SC_PAGE_SIZE")
    first = -(-array.ctypes.data // page) * page
    size = (array.ctypes.data + array.nbytes) // page * page - first
    if size > 0:
        with suppress(OSError, AttributeError):
            _c_library().madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), MADV_DONTNEED)


class PeakMemory:
    """The most resident memory that a process takes, above what it had when this was made; for Linux.

    >>> peak = PeakMemory()
    >>> _ = bytearray(1 << 25)
    >>> taken = peak.taken()
    >>> taken is None or taken > 3e7
    True
    """

    def __init__(self) -> None:
        trim_memory()
        self._before: float | None = None
        with suppress(OSError):  # no Linux, or a container that forbids it
            Path("/proc/self/clear_refs").write_text(FORGET_PEAK)
            self._before = process_bytes("VmRSS")

    def taken(self) -> float | None:
        """Return the bytes of the peak since then, above those at the beginning; None if the system does not tell."""
        return None if self._before is None else max(process_bytes("VmHWM") - self._before, 0.0)


def process_bytes(key: str, process: int | str = "self") -> float:
    """Return a number of bytes that Linux tells about a process, such as "VmRSS", what is resident. process: its id."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
