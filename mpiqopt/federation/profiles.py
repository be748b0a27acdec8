"""Profiles: what training each window of a network takes, counted or measured, and their files.

>>> counts = [BlockCount("body", 100, 0, 0, 1000, 10, 20, 20), BlockCount("head", 20, 0, 0, 20, 20, 2, 2)]
>>> profile = counted_profile(counts, batch=32)
>>> [str(cost.window) for cost in profile.costs], round(profile.costs[-1].upload, 3)
(['0-0', '0-1', '1-1'], 0.167)
"""

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mpiqopt.errors import UsageError, errors_name_file, quote_in_error
from mpiqopt.federation.counted_costs import FLOAT, counted_costs, full_memory, upload
from mpiqopt.federation.windows import Cost
from mpiqopt.files.replacement import replace_file
from mpiqopt.files.textfiles import read_decompressed_textfile
from mpiqopt.neural.block_count import BlockCount
from mpiqopt.neural.partial import Frozen, Window

FORMAT, VERSION = "mpiqopt profile", 1
RESOURCES = ("time", "memory", "upload")
FROZEN = Frozen()


class Full(NamedTuple):
    """What a training step of the whole network takes.

    Attributes
    ----------
    seconds : of a step; None where it is counted, not measured
    memory : bytes above the loaded network, at most
    upload : bytes of all that travels
    """

    seconds: float | None
    memory: float
    upload: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What training each window of a network takes on a device.

    Attributes
    ----------
    source : "counted" or "measured"
    network : its name, ``problem.model``
    blocks : names of its blocks, from input to output
    coordinates : how many coordinates of x each block has
    batch : samples of a step
    frozen : how blocks that are not trained are computed
    full : what training the whole network takes
    costs : of windows, relative to that; all windows of a complete profile
    device : facts about where it was measured, by name
    """

    source: str
    network: str
    blocks: list[str]
    coordinates: list[int]
    batch: int
    frozen: Frozen
    full: Full
    costs: list[Cost]
    device: dict[str, str] = field(default_factory=dict)

    def cost(self, window: Window) -> Cost:
        """Return what a window takes. Raises KeyError if the profile does not have it."""
        return {cost.window: cost for cost in self.costs}[window]

    def require_network(self, blocks: Sequence[str], coordinates: Sequence[int]) -> None:
        """Raise UsageError unless the profile is of a network with such blocks."""
        if self.blocks != list(blocks):
            raise UsageError(
                f"is of another network ({self.network}): {_differ(self.blocks, blocks)}; make one of this config: "
                "mpiqopt profile"
            )
        for name, mine, wanted in zip(blocks, self.coordinates, coordinates, strict=True):
            if mine != wanted:
                raise UsageError(
                    f"is of another network ({self.network}): block {name} has {mine} coordinates there and {wanted} "
                    "here; make one of this config: mpiqopt profile"
                )


def _differ(theirs: Sequence[str], ours: Sequence[str]) -> str:
    """Return how two lists of blocks differ, in a few words."""
    if len(theirs) != len(ours):
        return f"{len(theirs)} blocks there and {len(ours)} here"
    k = next(k for k, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
    return f"block {k} is {quote_in_error(theirs[k])} there and {quote_in_error(ours[k])} here"


def counted_profile(counts: Sequence[BlockCount], batch: int, frozen: Frozen = FROZEN, network: str = "") -> Profile:
    """Return a profile by the model of ``counted_costs``, the same on every machine.

    Parameters
    ----------
    counts : of the blocks, from input to output: ``problem.block_counts()``
    batch : samples of a step
    frozen : how frozen blocks are computed
    network : its name
    """
    return Profile(
        source="counted",
        network=network,
        blocks=[count.name for count in counts],
        coordinates=[count.coordinates for count in counts],
        batch=batch,
        frozen=frozen,
        full=Full(None, full_memory(counts, batch), FLOAT * upload(counts, frozen)),
        costs=counted_costs(counts, batch, frozen),
    )


def profile_path(output: str) -> Path:
    """Return the file that ``-o OUTPUT`` means, links followed; commands ask this before they begin to work.

    Raises UsageError if its folder is missing or write-protected, or if something is there that is no profile.
    """
    path = Path(os.path.realpath(output))
    if path.exists() and (not path.is_file() or path.stat().st_size):
        with errors_name_file(f"-o {output}"):
            _object(str(path))
    if not path.parent.is_dir():
        raise UsageError(f"-o {output}: cannot write there: there is no such folder")
    if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise UsageError(f"-o {output}: cannot write there: it is write-protected")
    return path


def write_profile(profile: Profile, path: str) -> None:
    """Write a profile as JSON, whole or not at all. Raises UsageError if that is not possible."""
    content = {"format": FORMAT, "version": VERSION} | vars(profile)
    content |= {"frozen": profile.frozen._asdict(), "full": profile.full._asdict()}
    del content["costs"]
    content["windows"] = [cost._asdict() for cost in profile.costs]
    try:
        replace_file(profile_path(path), (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise UsageError(f"-o {path}: cannot write there: {error.strerror or error}") from error


def read_profile(path: str) -> Profile:
    """Return the profile that a file has. Raises UsageError if it is missing, or has something else."""
    with errors_name_file(path):
        return _profile(_object(path))


def _object(path: str) -> dict[str, Any]:
    """Return the JSON object of a file that says that it is a profile."""
    try:
        found = json.loads(read_decompressed_textfile(path, "profile").decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is no profile, but no JSON at all: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UsageError("is no profile of mpiqopt: make one by mpiqopt profile CONFIG -o FILE")
    if found.get("version") != VERSION:
        raise UsageError(f"version = {quote_in_error(found.get('version'))}: want {VERSION}")
    return found


def _profile(found: dict[str, Any]) -> Profile:
    """Return the profile that a JSON object stands for. Raises UsageError that names the key."""
    blocks = _checked(found, "blocks", _is_list_of(str), "a list of names of blocks")
    counts = _checked(found, "coordinates", _is_list_of(int), "a list of numbers of coordinates")
    if len(counts) != len(blocks):
        raise UsageError(f"coordinates: has {len(counts)} entries, want one for each of the {len(blocks)} blocks")
    return Profile(
        source=_checked(found, "source", ("counted", "measured").__contains__, "'counted' or 'measured'"),
        network=_checked(found, "network", lambda value: isinstance(value, str), "the name of a network"),
        blocks=blocks,
        coordinates=counts,
        batch=_checked(found, "batch", lambda value: type(value) is int and value >= 0, "a number of samples"),
        frozen=_frozen(_checked(found, "frozen", _is_object, "an object")),
        full=_full(_checked(found, "full", _is_object, "an object")),
        costs=_costs(_checked(found, "windows", _is_list_of(dict), "a list of windows"), len(blocks)),
        device=_checked(found, "device", _is_object, "an object"),
    )


def _frozen(found: dict[str, Any]) -> Frozen:
    """Return how frozen blocks are computed."""
    return Frozen(
        _checked(found, "before", ("int8", "float").__contains__, "'int8' or 'float'", "frozen."),
        _checked(found, "after", ("int8", "float").__contains__, "'int8' or 'float'", "frozen."),
        _checked(found, "bits", range(2, 9).__contains__, "2 to 8", "frozen."),
    )


def _full(found: dict[str, Any]) -> Full:
    """Return what the whole network takes."""
    seconds = found.get("seconds")
    return Full(
        None if seconds is None else _checked(found, "seconds", _is_cost, "a number over 0, or null", "full."),
        _checked(found, "memory", _is_cost, "a number over 0", "full."),
        _checked(found, "upload", lambda value: _is_cost(value) and type(value) is int, "a whole number", "full."),
    )


def _costs(found: list[dict[str, Any]], blocks: int) -> list[Cost]:
    """Return the costs of windows, sorted."""
    costs: dict[Window, Cost] = {}
    for k, entry in enumerate(found):
        first, last = (
            _checked(entry, end, lambda value: type(value) is int, "the number of a block", f"windows[{k}].")
            for end in ("first", "last")
        )
        if not 0 <= first <= last < blocks:
            raise UsageError(f"windows[{k}]: blocks {first} to {last}, want 0 <= first <= last < {blocks}")
        if Window(first, last) in costs:
            raise UsageError(f"windows[{k}]: window {first}-{last} is there twice")
        values = (_checked(entry, key, _is_cost, "a number over 0", f"windows[{k}].") for key in RESOURCES)
        costs[Window(first, last)] = Cost(first, last, *values)
    if not costs:
        raise UsageError("windows: is empty, want a cost for each window")
    return [costs[window] for window in sorted(costs)]


def _checked(found: dict[str, Any], key: str, allows: Callable[[Any], bool], want: str, where: str = "") -> Any:
    """Return a value of a JSON object. Raises UsageError if it is missing or not allowed. where: what holds it."""
    if key not in found:
        raise UsageError(f"{where}{key}: is missing, want {want}")
    value = found[key]
    try:
        fits = allows(value)
    except TypeError:  # not hashable
        fits = False
    if not fits:
        raise UsageError(f"{where}{key} = {quote_in_error(value)}: want {want}")
    return value


def _is_cost(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value > 0


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list_of(kind: type) -> Callable[[Any], bool]:
    """Return a check for lists whose elements are all of one type, at least one."""
    return lambda value: isinstance(value, list) and bool(value) and all(type(each) is kind for each in value)
