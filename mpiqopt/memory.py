"""How much memory there is, and errors before it is exhausted.

Linux grants memory that it does not have, and kills a process that uses it, without a word to the user. So whatever
follows from sizes in the config is compared with what there is before it is asked for.
"""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path


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


def release_memory() -> None:
    """Give freed memory back to the system where the C library can: glibc keeps it otherwise."""
    import ctypes

    with suppress(AttributeError, OSError):  # musl, macOS
        ctypes.CDLL(None).malloc_trim(0)
