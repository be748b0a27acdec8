"""A topology in numbers and as a picture."""

import numpy as np

from mpiqopt.analysis.plots import save
from mpiqopt.topologies.spectrum import DIAMETER_LIMIT, GOSSIP_TARGET, Topology

# above this many arcs a drawing has lines without heads: each head takes milliseconds, and among so many none is seen
ARROWS_LIMIT = 2000


def union(topology: Topology):
    """The networkx graph of all links of the cycle; a DiGraph if it is directed."""
    import networkx

    graph = networkx.DiGraph() if topology.directed else networkx.Graph()
    graph.add_nodes_from(range(topology.nodes))
    graph.add_edges_from(topology.arcs().tolist())
    return graph


def describe(topology: Topology) -> str:
    """n, links, degrees and diameter, one line each; lambda and gossip rounds if W is doubly stochastic."""
    facts = [("topology", topology.name), ("nodes", topology.nodes), *_links(topology), *_distances(topology)]
    if topology.varies:
        facts.insert(1, ("graphs in turn", len(topology.cycle)))
    if topology.doubly_stochastic:
        facts += _averaging(topology)
    width = max(len(name) for name, _ in facts)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in facts)


def _links(topology: Topology) -> list[tuple[str, object]]:
    arcs = topology.arcs()
    out, into = (_spread(np.bincount(ends, minlength=topology.nodes)) for ends in arcs.T)
    if topology.directed:
        return [("arcs", len(arcs)), ("out-degree", out), ("in-degree", into)]
    return [("links", len(arcs) // 2), ("degree", out)]


def _spread(degrees: np.ndarray) -> str:
    spread = f"{degrees.min()}" if degrees.min() == degrees.max() else f"{degrees.min()} to {degrees.max()}"
    return f"{spread} (mean {degrees.mean():.3g})"


def _distances(topology: Topology) -> list[tuple[str, object]]:
    strong = topology.strongly_connected
    facts = [("strongly connected", "yes" if strong else "no")] if topology.directed or not strong else []
    if strong:
        facts.append(("diameter", diameter(topology)))
    return facts


def diameter(topology: Topology) -> str:
    """The diameter, or what is known of it."""
    return "at most " * (topology.nodes > DIAMETER_LIMIT) + str(topology.diameter)


def _averaging(topology: Topology) -> list[tuple[str, object]]:
    facts = [("lambda = |W - J|", f"{topology.contraction:.6g} (1 - lambda = {1 - topology.contraction:.3g})")]
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


def draw(topology: Topology, output: str) -> None:
    """Draw the graph to a file."""
    import networkx
    from matplotlib.figure import Figure

    graph = union(topology)
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    networkx.draw_networkx(
        graph,
        _layout(topology, graph.to_undirected()),
        ax=axes,
        arrows=topology.directed and graph.number_of_edges() <= ARROWS_LIMIT,
        with_labels=topology.nodes <= 64,
        node_color="#9ecae1",
        edge_color="#777777",
        node_size=max(10, min(300, 9000 // topology.nodes)),
        font_size=8,
    )
    fact = f"λ = {topology.contraction:.4f}" if topology.doubly_stochastic else f"{graph.number_of_edges()} arcs"
    axes.set_title(f"{topology.name}, n = {topology.nodes}, {fact}")
    axes.set_axis_off()
    save(figure, output)


def _layout(topology: Topology, graph) -> dict:
    """Rings and the like, and what is too large for springs, on a circle; others by Kamada and Kawai's springs."""
    import networkx

    on_circle = topology.name in ("ring", "directed-ring", "complete", "exponential", "one-peer-exponential")
    if on_circle or not 3 <= topology.nodes <= 500:
        return networkx.circular_layout(graph)
    # springs unfold a lattice from its spectral layout; from a circle they may not
    start = networkx.spectral_layout(graph) if topology.name in ("grid", "path") else None
    return networkx.kamada_kawai_layout(graph, pos=start)
