"""Which of the compiled kernels run: the best that this processor has, or those that MPIQOPT_KERNELS names.

All of them give the same bits. On x86-64 the levels are those of its psABI: v2 (SSE 4.2), v3 (AVX2), v4 (AVX-512).
"""

import os
from collections.abc import Iterable
from functools import cache

from mpiqopt._processor import COMPILER, LEVELS, MARCH, lacking
from mpiqopt.errors import UsageError

VARIABLE = "MPIQOPT_KERNELS"


@cache
def level() -> int:
    """Return the position of the level to run in the tables of kernels. Raises UsageError if there is none."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted and wanted not in LEVELS:
        raise UsageError(f"{VARIABLE} = {wanted!r}: want one of {', '.join(LEVELS)}")
    missing = lacking(wanted or LEVELS[0])
    if missing:
        raise UsageError(_unfit(wanted, missing))
    return LEVELS.index(wanted) if wanted else max(k for k, name in enumerate(LEVELS) if not lacking(name))


def _unfit(wanted: str, missing: list[str]) -> str:
    words = ", ".join(missing if len(missing) <= 4 else [*missing[:3], f"and {len(missing) - 3} more"])
    if wanted:
        return f"{VARIABLE} = {wanted!r}: this processor lacks {words}; leave the variable out"
    if MARCH:
        return (
            f"the kernels were built with MPIQOPT_MARCH={MARCH}, and this processor lacks {words}; build again "
            "without it, for all processors"
        )
    return f"this processor lacks {words}, which the kernels of {LEVELS[0]} need; build with MPIQOPT_MARCH=x86-64"


def names(levels: Iterable[int]) -> str:
    """Return what runs, for people, of the ranks' levels: their names, or the processor that they were built for."""
    return f"-march={MARCH}" if MARCH else ", ".join(LEVELS[k] for k in sorted(set(levels)))


def description() -> str:
    """Return what runs here, of what was built, and by which compiler."""
    others = "" if MARCH else f" of {', '.join(LEVELS)}"
    return f"{names([level()])}{others}, built by {COMPILER}"
