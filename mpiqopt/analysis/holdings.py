"""What each node holds: samples and labels, as a table and as a figure."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np

from mpiqopt.analysis.figures import as_they_are, defaults, legend_above, save, target_of, use_fonts_for
from mpiqopt.analysis.tables import Column, bands
from mpiqopt.data.shares import Shares, label_counts
from mpiqopt.files.inputs import require_file
from mpiqopt.results.files import SIGNATURE
from mpiqopt.results.reader import read_data
from mpiqopt.terminal import printable, shortened

# up to so many nodes have a line each, and up to so many labels a column or line each
MOST_NODES, MOST_LABELS = 16, 12
# characters of a name in a table and on an axis
NAME = 24
# up to so many nodes are bars, of which as many have names, and so many labels are in the legend
BARS, NAMED, LEGEND = 200, 24, 20


class Holdings(NamedTuple):
    """sizes: samples of each node (nodes,); counts: those of each label (nodes, labels), None for numbers to predict.

    labels: what these are called; groups: what the data call the samples of each node, if they do.
    """

    sizes: np.ndarray
    counts: np.ndarray | None
    labels: list[str]
    groups: list[str]


def of_shares(shares: Shares) -> Holdings:
    """Return what nodes hold, from the shares of all of them."""
    names = [f"{label:g}" for label in ([] if shares.labels is None else shares.labels)]
    if shares.words is not None:
        names = [shares.words[int(label)] for label in shares.labels]
    return Holdings(shares.sizes, label_counts(shares), names, [*shares.groups])


def of_file(path: str) -> Holdings:
    """Return what nodes hold by a result file, or by a config, whose data are loaded. Raises UsageError."""
    if _is_hdf5(path):
        return _stored(path)
    from mpiqopt.config.parse import load
    from mpiqopt.run.assembly import divided

    return of_shares(divided(load(path)))


def _is_hdf5(path: str) -> bool:
    """False also for what is no file, which the reader of configs tells."""
    require_file(path)
    with suppress(OSError, ValueError), open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE
    return False


def _stored(path: str) -> Holdings:
    held = read_data(path)
    labels = held.get("class", np.empty(0))
    names = [f"{label:g}" if isinstance(label, float) else label for label in labels.tolist()]
    return Holdings(held["samples"], held.get("counts"), names, held.get("groups", np.empty(0)).tolist())


def table(held: Holdings, width: int | None, indent: str = "") -> str:
    """Return lines of at most ``width``: one for each node, or of the nodes that have fewest and most."""
    columns = _nodes(held) if len(held.sizes) <= MOST_NODES else _extremes(held)
    tables = bands(columns, None if width is None else width - len(indent))
    return "\n".join("".join(f"{indent}{line}\n" for line in _lines(band)) for band in tables)


def _lines(columns: list[Column]) -> list[str]:
    """The heading and the rows of a table."""
    cells = [[column.heading, *column.cells] for column in columns]
    wide = [max(map(len, own)) for own in cells]
    just = [str.ljust if column.is_name else str.rjust for column in columns]
    return [
        "  ".join(j(c, w) for j, c, w in zip(just, row, wide, strict=True)).rstrip() for row in zip(*cells, strict=True)
    ]


def _nodes(held: Holdings) -> list[Column]:
    """A row for each node."""
    columns = [Column("node", [str(node) for node in range(len(held.sizes))])]
    if held.groups:
        columns.append(Column("in the data", _short(held.groups), is_name=True))
    columns.append(_counts("samples", held.sizes))
    return columns + [_counts(name, counts) for name, counts in _kinds(held)]


def _short(names: list[str]) -> list[str]:
    return [shortened(printable(name), NAME) for name in names]


def _counts(heading: str, counts: np.ndarray) -> Column:
    return Column(heading, [str(count) for count in counts.tolist()])


def _kinds(held: Holdings) -> list[tuple[str, np.ndarray]]:
    """What there is to count beside samples: those of every label, or how many labels if there are more."""
    if held.counts is None:
        return []
    if len(held.labels) <= MOST_LABELS:
        return [*zip(_short(held.labels), held.counts.T, strict=True)]
    return [(f"of {len(held.labels)} labels", np.count_nonzero(held.counts, axis=1))]


def _extremes(held: Holdings) -> list[Column]:
    """A row for samples and each label: who has fewest and most, and what the middle one has."""
    kinds = [("samples", held.sizes), *_kinds(held)]
    order = [np.argsort(counts, kind="stable") for _, counts in kinds]
    middle = len(held.sizes) // 2
    columns = [Column("at a node", [name for name, _ in kinds], is_name=True)]
    for heading, at in (("fewest", 0), ("median", middle), ("most", -1)):
        found = [(counts[nodes[at]], nodes[at]) for (_, counts), nodes in zip(kinds, order, strict=True)]
        columns.append(
            Column(heading, [f"{count} (node {node})" if at != middle else f"{count}" for count, node in found])
        )
    return columns


def draw(held: Holdings, output: str) -> None:
    """Draw the samples of each node as bars, in pieces for the labels, to a file."""
    target_of(output)
    with defaults():
        save(_figure(held), output)


def _figure(held: Holdings):
    from matplotlib.figure import Figure

    nodes, several = len(held.sizes), held.counts is not None
    figure = Figure(figsize=(min(max(6, 0.3 * nodes), 14), 4.5), layout="constrained")
    axes = figure.subplots()
    use_fonts_for([*held.labels, *held.groups])
    pieces = held.counts.T if several else held.sizes[None]
    handles = _bars(axes, pieces) if nodes <= BARS else _areas(axes, pieces)
    axes.set_xlim(-0.6, nodes - 0.4)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("training samples")
    _name(axes, held)
    names = _short(held.labels)
    if several and len(names) <= LEGEND:
        legend_above(figure, handles, names, "label")
    elif several:
        as_they_are(axes.set_title(f"{len(names)} labels, from {names[0]} (dark blue) to {names[-1]} (dark red)"))
    return figure


def _colours(count: int) -> list:
    import matplotlib

    if count <= LEGEND:
        return [matplotlib.colormaps["tab10" if count <= LEGEND // 2 else "tab20"](k) for k in range(count)]
    return [matplotlib.colormaps["turbo"](k / (count - 1)) for k in range(count)]


def _bars(axes, pieces: np.ndarray) -> list:
    """A bar for each node; pieces: (labels, nodes)."""
    ends, place = np.cumsum(pieces, axis=0), np.arange(pieces.shape[1])
    coloured = zip(pieces, ends - pieces, _colours(len(pieces)), strict=True)
    return [axes.bar(place, heights, 0.8, below, color=colour) for heights, below, colour in coloured]


def _areas(axes, pieces: np.ndarray) -> list:
    """Steps without gaps, for more nodes than have space for a bar."""
    edges, steps = np.arange(pieces.shape[1] + 1) - 0.5, np.concatenate([pieces, pieces[:, -1:]], axis=1)
    return axes.stackplot(edges, steps, colors=_colours(len(pieces)), step="post", linewidth=0)


def _name(axes, held: Holdings) -> None:
    """Nodes by what the data call them, or by number."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("node")
    if held.groups and len(held.sizes) <= NAMED:
        axes.set_xticks(range(len(held.groups)), _short(held.groups), rotation=45, ha="right")
        as_they_are(*axes.get_xticklabels())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
