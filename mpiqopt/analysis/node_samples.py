"""The samples and labels of each node, as a table and as a figure.

>>> samples = NodeSamples(np.array([3, 5]), np.array([[3, 0], [1, 4]]), labels=["cat", "dog"], groups=[])
>>> print(node_table(samples, width=None), end="")
node  samples  cat  dog
   0        3    3    0
   1        5    1    4
"""

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpiqopt.analysis.figures import (
    figure_path,
    legend_above,
    matplotlib_defaults,
    save_figure,
    use_fonts_for,
    without_math,
)
from mpiqopt.analysis.tables import Column, split_columns
from mpiqopt.data.shares import Shares, label_counts
from mpiqopt.files.inputs import require_input_file
from mpiqopt.results.files import SIGNATURE
from mpiqopt.results.reader import read_division
from mpiqopt.terminal import escape_for_terminal, shorten_for_terminal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# up to so many nodes have a line each, and up to so many labels a column or line each
MOST_NODES, MOST_LABELS = 16, 12
# characters of a name in a table and on an axis
NAME = 24
# up to so many nodes are bars, of which as many have names, and so many labels are in the legend
BARS, NAMED, LEGEND = 200, 24, 20


class NodeSamples(NamedTuple):
    """How the training samples are divided.

    Attributes
    ----------
    sizes: samples of each node (nodes,).
    counts: those of each label (nodes, labels); None for numbers to predict.
    labels: what these are called, in the order of ``counts``.
    groups: what the data call the samples of each node, such as a hospital; empty if they do not.
    """

    sizes: np.ndarray
    counts: np.ndarray | None
    labels: list[str]
    groups: list[str]


def samples_of_shares(shares: Shares) -> NodeSamples:
    """Return the division of samples, from the shares of all nodes."""
    labels = [] if shares.labels is None else shares.labels.tolist()
    words = shares.words
    names = [f"{label:g}" if words is None else words[int(label)] for label in labels]
    return NodeSamples(shares.sizes, label_counts(shares), names, [*shares.groups])


def read_node_samples(path: str) -> NodeSamples:
    """Return the division of samples that a result file has stored, or that a config makes of its data.

    The data of a config are loaded. Raises UsageError if the file is neither.
    """
    if _is_hdf5(path):
        return _stored(path)
    from mpiqopt.config.parse import load
    from mpiqopt.run.assembly import assemble_division

    return samples_of_shares(assemble_division(load(path)))


def _is_hdf5(path: str) -> bool:
    """Return True if a file begins as HDF5 does; False also for a missing one, which the reader of configs reports."""
    require_input_file(path)
    with suppress(OSError, ValueError), open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE
    return False


def _stored(path: str) -> NodeSamples:
    """Return the division of samples that a result file has stored."""
    samples = read_division(path)
    labels = samples.get("class", np.empty(0))
    names = [f"{label:g}" if isinstance(label, float) else label for label in labels.tolist()]
    return NodeSamples(samples["samples"], samples.get("counts"), names, samples.get("groups", np.empty(0)).tolist())


def node_table(samples: NodeSamples, width: int | None, indent: str = "") -> str:
    """Return lines of at most ``width`` characters: one for each node, or of the nodes that have fewest and most.

    indent: what every line begins with, such as "# ". More columns than fit go on in further tables below.
    """
    columns = _nodes(samples) if len(samples.sizes) <= MOST_NODES else _extremes(samples)
    tables = split_columns(columns, None if width is None else width - len(indent))
    return "\n".join("".join(f"{indent}{line}\n" for line in _lines(band)) for band in tables)


def _lines(columns: list[Column]) -> list[str]:
    """Return the heading and the rows of a table.

    Not by ``tables.print_table``: `check` puts them into comments.
    """
    cells = [[column.heading, *column.cells] for column in columns]
    wide = [max(map(len, own)) for own in cells]
    just = [str.ljust if column.is_name else str.rjust for column in columns]
    return [
        "  ".join(j(c, w) for j, c, w in zip(just, row, wide, strict=True)).rstrip() for row in zip(*cells, strict=True)
    ]


def _nodes(samples: NodeSamples) -> list[Column]:
    """Return a row for each node."""
    columns = [Column("node", [str(node) for node in range(len(samples.sizes))])]
    if samples.groups:
        columns.append(Column("in the data", _short(samples.groups), is_name=True))
    columns.append(_counts("samples", samples.sizes))
    return columns + [_counts(name, counts) for name, counts in _kinds(samples)]


def _short(names: list[str]) -> list[str]:
    """Return names in at most NAME printable characters."""
    return [shorten_for_terminal(escape_for_terminal(name), NAME) for name in names]


def _counts(heading: str, counts: np.ndarray) -> Column:
    """Return a column of whole numbers."""
    return Column(heading, [str(count) for count in counts.tolist()])


def _kinds(samples: NodeSamples) -> list[tuple[str, np.ndarray]]:
    """Return what to count beside samples: those of every label, or how many labels if there are more."""
    if samples.counts is None:
        return []
    if len(samples.labels) <= MOST_LABELS:
        return [*zip(_short(samples.labels), samples.counts.T, strict=True)]
    return [(f"of {len(samples.labels)} labels", np.count_nonzero(samples.counts, axis=1))]


def _extremes(samples: NodeSamples) -> list[Column]:
    """Return a row for samples and for each label: who has fewest and most, and what the middle one has.

    Of equal counts the node with the smallest number is named for the fewest, the largest for the most.
    """
    kinds = [("samples", samples.sizes), *_kinds(samples)]
    order = [np.argsort(counts, kind="stable") for _, counts in kinds]
    middle = len(samples.sizes) // 2
    columns = [Column("at a node", [name for name, _ in kinds], is_name=True)]
    for heading, at in (("fewest", 0), ("median", middle), ("most", -1)):
        found = [(counts[nodes[at]], nodes[at]) for (_, counts), nodes in zip(kinds, order, strict=True)]
        columns.append(
            Column(heading, [f"{count} (node {node})" if at != middle else f"{count}" for count, node in found])
        )
    return columns


def draw_node_samples(samples: NodeSamples, output: str) -> None:
    """Draw the samples of each node as bars, in pieces for the labels, to the file ``output``.

    Raises UsageError if it cannot be written, or holds something else than a figure.
    """
    figure_path(output)
    with matplotlib_defaults():
        save_figure(_figure(samples), output)


def _figure(samples: NodeSamples) -> "Figure":
    """Return the figure: a bar for each node, or areas if there are many."""
    from matplotlib.figure import Figure

    nodes, several = len(samples.sizes), samples.counts is not None
    figure = Figure(figsize=(min(max(6, 0.3 * nodes), 14), 4.5), layout="constrained")
    axes = figure.subplots()
    use_fonts_for([*samples.labels, *samples.groups])
    pieces = samples.sizes[None] if samples.counts is None else samples.counts.T
    handles = _bars(axes, pieces) if nodes <= BARS else _areas(axes, pieces)
    axes.set_xlim(-0.6, nodes - 0.4)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("training samples")
    _name(axes, samples)
    names = _short(samples.labels)
    if several and len(names) <= LEGEND:
        legend_above(figure, handles, names, "label")
    elif several:
        without_math(axes.set_title(f"{len(names)} labels, from {names[0]} (dark blue) to {names[-1]} (dark red)"))
    return figure


def _colours(count: int) -> list:
    """Return colours for so many labels: all different, or in the order of a rainbow if there are many."""
    import matplotlib

    if count <= LEGEND:
        return [matplotlib.colormaps["tab10" if count <= LEGEND // 2 else "tab20"](k) for k in range(count)]
    return [matplotlib.colormaps["turbo"](k / (count - 1)) for k in range(count)]


def _bars(axes: "Axes", pieces: np.ndarray) -> list:
    """Draw a bar for each node, and return those of each label; pieces: (labels, nodes)."""
    ends, place = np.cumsum(pieces, axis=0), np.arange(pieces.shape[1])
    coloured = zip(pieces, ends - pieces, _colours(len(pieces)), strict=True)
    return [axes.bar(place, heights, 0.8, below, color=colour) for heights, below, colour in coloured]


def _areas(axes: "Axes", pieces: np.ndarray) -> list:
    """Draw steps without gaps, for more nodes than have space for a bar; pieces: (labels, nodes)."""
    edges, steps = np.arange(pieces.shape[1] + 1) - 0.5, np.concatenate([pieces, pieces[:, -1:]], axis=1)
    return axes.stackplot(edges, steps, colors=_colours(len(pieces)), step="post", linewidth=0)


def _name(axes: "Axes", samples: NodeSamples) -> None:
    """Name the nodes as the data do, or by number."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("node")
    if samples.groups and len(samples.sizes) <= NAMED:
        axes.set_xticks(range(len(samples.groups)), _short(samples.groups), rotation=45, ha="right")
        without_math(*axes.get_xticklabels())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
