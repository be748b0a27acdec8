"""How much memory there is, and errors before it is exhausted."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path


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
