"""What may differ between the config of a run and that of its continuation, and what of the run stays."""

from typing import Any

from mpiqopt.config.build import build_config
from mpiqopt.config.config import Config
from mpiqopt.errors import errors_name_file

# Keys of [run] that say when it is over: longer runs of the same are its continuation, also of one that is finished.
ENDS = ("iterations", "tolerance", "tolerance_on", "stop_accuracy", "stop_gap", "optimum", "stop_bytes")
# All keys that may differ; the others decide the trajectory.
FREE_ON_RESUME = (
    ("run", "time_limit"),
    ("checkpoint", "every_seconds"),
    ("record", "every"),
    *(("run", key) for key in ENDS),
)
# Keys of [run] whose value "auto" is stored as what it meant.
DERIVED = ("dtype", "start")


def keep_defaults(config: Config, given: dict[str, Any], resolved: dict[str, Any]) -> Config:
    """Return a config with the defaults of an earlier run, so that a new default changes no run that has begun.

    They are values that neither config gives, of parts with the same name. The text stays: what it does not say is told
    by ``resolved``.

    Parameters
    ----------
    config : of the continuation
    given, resolved : the tables of the run's config, and the same with the defaults of that time

    Raises
    ------
    UsageError
        If such a value is none any more.
    """
    now, tables = config.resolved(), dict(config.tables)
    for name, then in resolved.items():
        kept = _kept_defaults(name, then, now.get(name), given.get(name, {}), config.tables.get(name, {}))
        if kept:
            tables[name] = config.tables.get(name, {}) | kept
    if tables == config.tables:
        return config
    with errors_name_file(config.path):
        return build_config(tables, config.text, config.path, config.folder)


def _kept_defaults(name: str, then: Any, now: Any, *given: Any) -> dict[str, Any]:
    """Return the values of a table that were others by default; then, now: resolved; given: as in the two configs."""
    if not all(isinstance(table, dict) for table in (then, now, *given)):
        return {}  # [[topology]], [[devices]], and tables that there were not
    free = (then.keys() & now.keys()).difference(*given, DERIVED if name == "run" else ())
    same_part = then.get("name") == now.get("name")
    return {key: then[key] for key in sorted(free) if same_part and then[key] != now[key]}


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
