"""The blocks of a network, and what of its row belongs to each."""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from mpiqopt.errors import UsageError, list_in_error_line, quote_in_error
from mpiqopt.neural.model import blocks
from mpiqopt.neural.partial import Block
from mpiqopt.neural.rows import RowModule

KEY = "problem.blocks"
# "auto", or the names of the modules of each block, from input to output
Wanted = Literal["auto"] | Sequence[str | Sequence[str]]


def named_blocks(model: nn.Module, wanted: Wanted = "auto") -> list[list[str]]:
    """Return the names of the modules of each block, from input to output.

    wanted : modules of each block; "auto": what ``model.blocks`` finds. Raises UsageError for modules that the network
    does not have, for one that is in two blocks, and for a block without any.
    """
    if isinstance(wanted, str):
        return blocks(model)
    found = [[names] if isinstance(names, str) else list(names) for names in wanted]
    known = dict(model.named_modules())
    for name in (name for names in found for name in names):
        if name not in known or not name:
            said = f"{KEY}: the network has no module {quote_in_error(name)}; it has "
            raise UsageError(list_in_error_line(said, [each for each in known if each]))
    _require_disjoint(found)
    return found


def _require_disjoint(found: Sequence[Sequence[str]]) -> None:
    """Raise UsageError for a block without modules, and for a module that is in two, by itself or as a part."""
    if not all(found):
        raise UsageError(f"{KEY}: block {list(map(bool, found)).index(False)} has no modules")
    before: list[str] = []
    for name in (name for names in found for name in names):
        for other in before:
            if f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}."):
                two = f"{quote_in_error(name)} and {quote_in_error(other)}"
                raise UsageError(f"{KEY}: {two} share modules; want each in one block")
        before.append(name)


def row_blocks(net: RowModule, names: Sequence[Sequence[str]]) -> list[Block]:
    """Return the blocks of a network with their coordinates, from input to output.

    names : of the modules of each block. A parameter that several blocks share is of the first. Raises UsageError if
    one is in no block, or if the coordinates of blocks do not follow each other.
    """
    owner = {name: _block_of(name, names) for name in net.names}
    outside = [name for name, block in owner.items() if block is None]
    if outside:
        raise UsageError(f"{KEY}: {quote_in_error(outside[0])} is in no block; want every parameter in one")
    parameters, statistics = (_slices(net, owner, len(names), learnt) for learnt in (True, False))
    graph = net.trace(names)
    counts = [0] * len(names)
    if graph is not None:
        for node in graph.scaled:
            counts[graph.block[node]] += 1
    ends = [sum(counts[: k + 1]) for k in range(len(names))]
    return [
        Block(tuple(each), parameters[k], statistics[k], slice(ends[k] - counts[k], ends[k]))
        for k, each in enumerate(names)
    ]


def _block_of(name: str, names: Sequence[Sequence[str]]) -> int | None:
    """Return the number of the block that has a parameter or buffer, None if none has."""
    for k, modules in enumerate(names):
        if any(name.startswith(f"{module}.") or not module for module in modules):
            return k
    return None


def _slices(net: RowModule, owner: dict[str, int | None], count: int, learnt: bool) -> list[slice]:
    """Return the coordinates of each of ``count`` blocks: of its parameters, or of its statistics if not ``learnt``.

    Raises UsageError if they do not follow each other.
    """
    at = 0 if learnt else net.weights
    wanted = [name for name, part in net.names.items() if (part.start < net.weights) == learnt]
    found = [slice(at, at)] * count
    last = 0
    for name in wanted:
        block, part = owner[name], net.names[name]
        assert block is not None  # checked by the caller
        if block < last:
            raise UsageError(f"{KEY}: {quote_in_error(name)} comes after the parameters of a later block")
        for k in range(last + 1, block + 1):
            found[k] = slice(part.start, part.start)
        last, found[block] = block, slice(found[block].start, part.stop)
    end = found[last].stop
    return [*found[: last + 1], *(slice(end, end) for _ in range(count - last - 1))]
