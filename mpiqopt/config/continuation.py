"""What may differ between the config of a run and that of its continuation."""

from typing import Any

from mpiqopt.config.config import Config

# Keys of [run] that say when it is over: longer runs of the same are its continuation, also of one that is finished.
ENDS = ("iterations", "tolerance", "tolerance_on", "stop_accuracy", "stop_gap", "optimum", "stop_bytes")
# All keys that may differ; the others decide the trajectory.
FREE_ON_RESUME = (
    ("run", "time_limit"),
    ("checkpoint", "every_seconds"),
    ("record", "every"),
    *(("run", key) for key in ENDS),
)


def same_continuation_ends(old: Config, new: Config) -> bool:
    """Return True if all keys that say when a run is over are the same, so that nothing is left to do."""
    return all(getattr(old.run, key) == getattr(new.run, key) for key in ENDS)


def first_continuation_difference(old: Config, new: Config) -> str | None:
    """Return the first key that differs and may not, as ``table.key = new (was old)``; None if there is none.

    old: of the run; new: of its continuation. Both are compared with all defaults, so that these may be written out.
    """
    before, after = old.resolved(), new.resolved()
    differences = (_difference(table, before.get(table, []), after.get(table, [])) for table in before | after)
    return next(filter(None, differences), None)


def _difference(table: str, before: Any, after: Any) -> str | None:
    """Return the same of one table, which is a list for [[topology]] and [[devices]]."""
    if isinstance(before, list) or isinstance(after, list):
        return f"{table} = {after!r} (was {before!r})" if before != after else None
    for key in before | after:
        was, now = before.get(key), after.get(key)
        if was != now and (table, key) not in FREE_ON_RESUME:
            return f"{table}.{key} = {now!r} (was {was!r})"
    return None
