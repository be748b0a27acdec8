"""A topology in numbers and as a picture."""

import numpy as np

from mpiqopt.analysis.plots import save
from mpiqopt.topologies.spectrum import Topology

# above this many nodes the diameter (breadth-first search from every node) is not computed
DIAMETER_LIMIT = 3000


def union(topology: Topology):
    """The networkx graph of all links of the cycle."""
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(topology.nodes))
    for mixing in topology.cycle:
        links = mixing.links() & (mixing.weights != 0)
        graph.add_edges_from(zip(mixing.rows()[links].tolist(), mixing.columns[links].tolist(), strict=True))
    return graph


def describe(topology: Topology) -> str:
    """n, links, degrees, lambda, gossip rounds and diameter, one line each."""
    import networkx

    graph = union(topology)
    degrees = np.array([degree for _, degree in graph.degree()])
    spread = f"{degrees.min()}" if degrees.min() == degrees.max() else f"{degrees.min()} to {degrees.max()}"
    diameter = networkx.diameter(graph) if topology.nodes <= DIAMETER_LIMIT else "not computed for so many nodes"
    facts = [
        ("topology", topology.name),
        ("nodes", topology.nodes),
        ("links", graph.number_of_edges()),
        ("degree", f"{spread} (mean {degrees.mean():.3g})"),
        ("lambda = |W - J|", f"{topology.contraction:.6g} (1 - lambda = {1 - topology.contraction:.3g})"),
        ("diameter", diameter),
    ]
    if topology.varies:
        facts.insert(1, ("graphs in turn", len(topology.cycle)))
    chebyshev = not topology.varies and topology.symmetric
    if topology.nodes > 1:
        rounds = f"{topology.rounds_needed(False)} plain"
        facts.append(("rounds to |P - J| <= 1/4", rounds + f", {topology.rounds_needed(True)} Chebyshev" * chebyshev))
    width = max(len(name) for name, _ in facts)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in facts)


def draw(topology: Topology, output: str) -> None:
    """Draw the graph to a file."""
    import networkx
    from matplotlib.figure import Figure

    graph = union(topology)
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    networkx.draw_networkx(
        graph,
        _layout(topology, graph),
        ax=axes,
        with_labels=topology.nodes <= 64,
        node_color="#9ecae1",
        edge_color="#777777",
        node_size=max(10, min(300, 9000 // topology.nodes)),
        font_size=8,
    )
    axes.set_title(f"{topology.name}, n = {topology.nodes}, λ = {topology.contraction:.4f}")
    axes.set_axis_off()
    save(figure, output)


def _layout(topology: Topology, graph) -> dict:
    """Rings and the like, and what is too large for springs, on a circle; others by Kamada and Kawai's springs."""
    import networkx

    on_circle = topology.name in ("ring", "complete", "exponential", "one-peer-exponential")
    if on_circle or not 3 <= topology.nodes <= 500:
        return networkx.circular_layout(graph)
    # springs unfold a lattice from its spectral layout; from a circle they may not
    start = networkx.spectral_layout(graph) if topology.name in ("grid", "path") else None
    return networkx.kamada_kawai_layout(graph, pos=start)
