"""A topology in numbers and as a picture.

>>> from mpiqopt.topologies.lattices import Ring
>>> print(describe_topology(Topology("ring", tuple(Ring(nodes=8).cycle()))), end="")
topology                   ring
nodes                      8
links                      8
degree                     2 (mean 2)
diameter                   4
lambda = |W - J|           0.804738 (1 - lambda = 0.195)
rounds to |P - J| <= 0.75  2 plain, 2 Chebyshev
"""

from typing import TYPE_CHECKING

import numpy as np

from mpiqopt.analysis.figures import figure_path, matplotlib_defaults, save_figure, use_fonts_for, without_math
from mpiqopt.terminal import escape_for_terminal, shorten_for_terminal, two_terminal_columns
from mpiqopt.topologies.topology import DIAMETER_LIMIT, GOSSIP_TARGET, Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from networkx import Graph

# above this many arcs a drawing has lines without heads: each head takes milliseconds, and among so many none is seen
ARROWS_LIMIT = 2000
# lines are thinner where there are more
THIN = 300
# up to so many nodes are drawn with their numbers
NAMED = 64
# characters of a name in a drawing
LONGEST_LABEL = 14
NODE, LINE = "#9ecae1", "#777777"


def union_graph(topology: Topology) -> "Graph":
    """Return the networkx graph of all links of the cycle; a DiGraph if it is directed.

    Its nodes are 0 to n - 1; W's weights and self-loops are left out.
    """
    import networkx

    graph = networkx.DiGraph() if topology.directed else networkx.Graph()
    graph.add_nodes_from(range(topology.nodes))
    graph.add_edges_from(topology.arcs().tolist())
    return graph


def describe_topology(topology: Topology, width: int | None = None) -> str:
    """Return n, links, degrees and diameter, one line each, and lambda and gossip rounds if W is doubly stochastic.

    width: characters of a line; None for any. The diameter is an upper bound for more than DIAMETER_LIMIT nodes.
    """
    facts = [("topology", topology.name), ("nodes", topology.nodes), *_links(topology), *_distances(topology)]
    if topology.varies:
        facts.insert(1, ("graphs in turn", len(topology.cycle)))
    if topology.doubly_stochastic:
        facts += _averaging(topology)
    facts += graph_file_facts(topology)
    return two_terminal_columns([(name, escape_for_terminal(str(value))) for name, value in facts], width)


def graph_file_facts(topology: Topology) -> list[tuple[str, str]]:
    """Return how a graph's file was understood, as (subject, words); nothing for graphs that are made.

    Names of nodes come last, the first NAMED of them, unless they are just their numbers.
    """
    facts = [(f"file: {subject}", words) for subject, words in topology.read.items()]
    if topology.named and topology.names is not None:
        names = [f"{node} = {name}" for node, name in enumerate(topology.names[:NAMED])]
        more = f", ... ({topology.nodes} in all: /topology/names)" * (topology.nodes > NAMED)
        facts.append(("names of nodes", ", ".join(names) + more))
    return facts


def _links(topology: Topology) -> list[tuple[str, object]]:
    """Return the numbers of links or arcs, and degrees."""
    arcs = topology.arcs()
    out, into = (_spread(np.bincount(ends, minlength=topology.nodes)) for ends in arcs.T)
    if topology.directed:
        return [("arcs", len(arcs)), ("out-degree", out), ("in-degree", into)]
    return [("links", len(arcs) // 2), ("degree", out)]


def _spread(degrees: np.ndarray) -> str:
    """Return smallest, largest and mean degree in words."""
    spread = f"{degrees.min()}" if degrees.min() == degrees.max() else f"{degrees.min()} to {degrees.max()}"
    return f"{spread} (mean {degrees.mean():.3g})"


def _distances(topology: Topology) -> list[tuple[str, object]]:
    """Return the diameter, and of digraphs "yes" or "no" to strong connection."""
    strong = topology.strongly_connected
    facts: list[tuple[str, object]] = (
        [("strongly connected", "yes" if strong else "no")] if topology.directed or not strong else []
    )
    if strong:
        facts.append(("diameter", diameter(topology)))
    return facts


def diameter(topology: Topology) -> str:
    """Return the diameter, or an upper bound that says so."""
    return "at most " * (topology.nodes > DIAMETER_LIMIT) + str(topology.diameter)


def _averaging(topology: Topology) -> list[tuple[str, object]]:
    """Return lambda, and how many gossip rounds reduce the disagreement to GOSSIP_TARGET."""
    lam = topology.contraction
    facts: list[tuple[str, object]] = [("lambda = |W - J|", f"{lam:.6g} (1 - lambda = {1 - lam:.3g})")]
    chebyshev = not topology.varies and topology.symmetric
    if topology.nodes > 1:
        rounds = f"{topology.rounds_needed(False)} plain"
        facts.append(
            (
                f"rounds to |P - J| <= {GOSSIP_TARGET:g}",
                rounds + f", {topology.rounds_needed(True)} Chebyshev" * chebyshev,
            )
        )
    return facts


def draw_topology(topology: Topology, output: str) -> None:
    """Draw the graph of all links of the cycle to the file ``output``.

    Raises UsageError if it cannot be written, or holds something else than a figure.
    """
    figure_path(output)
    with matplotlib_defaults():
        save_figure(_figure(topology), output)


def _figure(topology: Topology) -> "Figure":
    """Return the figure of a graph: nodes with their names, and a title with n and lambda."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    graph = union_graph(topology)
    arcs, name, labels = (
        np.array(graph.edges, np.int64).reshape(-1, 2),
        escape_for_terminal(topology.name),
        _labels(topology),
    )
    use_fonts_for([name, *labels])
    # not by networkx.draw: pyplot, which it imports, reads the user's styles and may fail at them
    _draw(axes, _layout(topology, graph.to_undirected()), arcs, topology.directed, labels)
    fact = f"λ = {topology.contraction:.4f}" if topology.doubly_stochastic else f"{graph.number_of_edges()} arcs"
    without_math(axes.set_title(f"{name}, n = {topology.nodes}, {fact}"))
    return figure


def _labels(topology: Topology) -> list[str]:
    """Return what stands at the nodes: their names, by default their numbers, unless there are too many."""
    if topology.nodes > NAMED:
        return []
    names = (topology.names if topology.named else None) or [str(node) for node in range(topology.nodes)]
    return [shorten_for_terminal(name, LONGEST_LABEL) for name in names]


def _draw(axes: "Axes", place: dict, arcs: np.ndarray, directed: bool, labels: list[str]) -> None:
    """Draw nodes at their places, and arcs between them as lines or, if directed, arrows.

    place: node to (x, y). arcs: int64 (arcs, 2). labels: of the first nodes.
    """
    from matplotlib.collections import LineCollection

    nodes = np.array([place[i] for i in range(len(place))])
    area, width = max(10, min(300, 9000 // len(nodes))), max(0.2, min(1, THIN / max(len(arcs), 1)))
    if directed and len(arcs) <= ARROWS_LIMIT:
        away = np.sqrt(area) / 2  # from the middle of a node to its edge, in points
        arrow = {"arrowstyle": "-|>", "color": LINE, "linewidth": width, "shrinkA": away, "shrinkB": away}
        for i, j in arcs:
            axes.annotate("", nodes[j], nodes[i], arrowprops=arrow)
    else:
        axes.add_collection(LineCollection(nodes[arcs], colors=LINE, linewidths=width))
    axes.scatter(*nodes.T, area, NODE, zorder=2)
    for (x, y), label in zip(nodes, labels, strict=False):
        without_math(axes.text(x, y, label, fontsize=8, ha="center", va="center_baseline"))
    axes.margins(0.1)
    axes.set_aspect("equal", "datalim")
    axes.set_axis_off()


def _layout(topology: Topology, graph: "Graph") -> dict:
    """Return a place (x, y) for each node.

    Rings and the like, and what is too large for springs, stand on a circle; others by Kamada and Kawai's springs.
    """
    import networkx

    if topology.name == "star":
        return networkx.shell_layout(graph, [[0], range(1, topology.nodes)])

    on_circle = topology.name in ("ring", "directed-ring", "complete", "exponential", "one-peer-exponential")
    if on_circle or not 3 <= topology.nodes <= 500:
        return networkx.circular_layout(graph)
    # springs unfold a lattice from its spectral layout; from a circle they may not
    start = networkx.spectral_layout(graph) if topology.name in ("grid", "path") else None
    return networkx.kamada_kawai_layout(graph, pos=start)
