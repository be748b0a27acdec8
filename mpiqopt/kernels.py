"""Choose which of the compiled kernels run: the best that this processor has, or those that MPIQOPT_KERNELS names.

A build has each kernel for several levels of instruction sets; on x86-64 they are those of its psABI: v2 (SSE 4.2), v3
(AVX2), v4 (AVX-512). Here, and nowhere else, one of them is chosen; each extension takes its table of that level
(cython_ext/kernels.h). All levels give the same bits, so that ranks on different processors may run different ones.
"""

import os
from collections.abc import Iterable
from functools import cache

from mpiqopt._processor import COMPILER, LEVELS, MARCH, lacking
from mpiqopt.errors import UsageError

VARIABLE = "MPIQOPT_KERNELS"


@cache
def level() -> int:
    """Return the place of the level to run in the tables of kernels.

    The last of ``LEVELS`` of which this processor lacks nothing, or the one that the environment variable names.

    Raises
    ------
    UsageError : the variable names no level, or the processor lacks what the level needs
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted and wanted not in LEVELS:
        raise UsageError(f"{VARIABLE} = {wanted!r}: want one of {', '.join(LEVELS)}")
    missing = lacking(wanted or LEVELS[0])
    if missing:
        raise UsageError(_unfit(wanted, missing))
    return LEVELS.index(wanted) if wanted else max(k for k, name in enumerate(LEVELS) if not lacking(name))


def _unfit(wanted: str, missing: list[str]) -> str:
    """Return the error line of a level that the processor cannot run, with what to do about it."""
    words = ", ".join(missing if len(missing) <= 4 else [*missing[:3], f"and {len(missing) - 3} more"])
    if wanted:
        return f"{VARIABLE} = {wanted!r}: this processor lacks {words}; leave the variable out"
    if MARCH:
        return (
            f"the kernels were built with MPIQOPT_MARCH={MARCH}, and this processor lacks {words}; build again "
            "without it, for all processors"
        )
    return f"this processor lacks {words}, which the kernels of {LEVELS[0]} need; build with MPIQOPT_MARCH=x86-64"


def kernel_names(levels: Iterable[int]) -> str:
    """Return the names of the levels that ranks run, or the processor that the kernels were built for.

    As results have it in the attribute ``kernels``: "v4", "v3, v4" on a mixed cluster, "-march=native".
    """
    return f"-march={MARCH}" if MARCH else ", ".join(LEVELS[k] for k in sorted(set(levels)))


def describe_kernels() -> str:
    """Return which level runs here, of which that were built, and by which compiler, for ``mpiqopt doctor``."""
    others = "" if MARCH else f" of {', '.join(LEVELS)}"
    return f"{kernel_names([level()])}{others}, built by {COMPILER}"
