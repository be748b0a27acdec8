"""Promises of a topology: matrices that average, the same for the same seed, for every number of nodes it takes.

>>> from mpiqopt.topologies.lattices import Ring
>>> weights_sum_to_one(Ring(nodes=8)) is None  # holds
True
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mpiqopt.contracts.contract import promise, promise_equal
from mpiqopt.errors import UsageError
from mpiqopt.topologies.graph import AnyGraph, Digraph
from mpiqopt.topologies.mixing import Mixing
from mpiqopt.topologies.topology import Topology

SIZES = (1, 2, 3, 8, 16, 17)


def _graphs(graph: AnyGraph) -> Iterator[tuple[int, list[Mixing]]]:
    """Yield the matrices for each number of nodes that the topology takes, its own first, which it has to take."""
    own = graph.cycle()
    yield graph.nodes or own[0].nodes, own  # a file has its own number
    for nodes in SIZES:
        try:
            cycle = replace(graph, nodes=nodes).cycle()
        except UsageError:
            continue
        yield nodes, cycle


def matrices_are_sorted_rows_of_numbers(graph: AnyGraph) -> None:
    """Check that W is stored as compressed rows.

    Columns ascend, each place is stored at most once, nodes exist and weights are finite.
    Kernels rely on it without looking again.
    """
    for nodes, cycle in _graphs(graph):
        promise(isinstance(cycle, list) and cycle, f"cycle() returns {cycle!r:.60}, want a list of matrices")
        for mixing in cycle:
            where = f"for {nodes} nodes"
            promise(isinstance(mixing, Mixing), f"cycle() returns a list of {type(mixing).__name__}, want Mixing")
            promise(mixing.nodes == nodes, f"W has {mixing.nodes} rows {where}")
            promise(np.isfinite(mixing.weights).all(), f"weights of W are not finite {where}")
            inside = (mixing.columns >= 0) & (mixing.columns < nodes)
            promise(inside.all(), f"W has column {mixing.columns[~inside][:1]} {where}")
            ascend = np.diff(mixing.columns)[np.diff(mixing.rows()) == 0] > 0
            promise(ascend.all(), f"columns do not ascend in {np.sum(~ascend)} places of W {where}: use from_entries")


def weights_sum_to_one(graph: AnyGraph) -> None:
    """Check that columns of W have the sum 1, and rows, too, where the graph is not directed.

    Sums of columns keep the mean of the nodes, sums of rows keep a consensus.
    """
    for nodes, cycle in _graphs(graph):
        for mixing in cycle:
            sums = {"column": mixing.column_sums()}
            if not isinstance(graph, Digraph):
                sums["row"] = mixing.row_sums()
            for kind, values in sums.items():
                worst = int(np.argmax(np.abs(values - 1)))
                promise(
                    abs(values[worst] - 1) < 1e-12,
                    f"{kind} {worst} of W sums to {values[worst]:.12g}, want 1, for {nodes} nodes",
                )


def repeated_mixing_averages(graph: AnyGraph) -> None:
    """Check for paths from every node to every other, and for ||W - J|| < 1 if the graph is not directed.

    With its own number of nodes: for others a random graph may want other keys.
    """
    made = Topology(graph.name, tuple(graph.cycle()))
    if isinstance(graph, Digraph):
        made.require_strong()
    else:
        made.require_contraction()


def same_seed_same_graph(graph: AnyGraph) -> None:
    """Check that two calls, and those of an equal object, give the same matrices: every rank makes its own.

    A graph may draw random numbers from its seed alone.
    """
    for nodes, cycle in _graphs(graph):
        again = replace(graph, nodes=nodes).cycle()
        promise(len(again) == len(cycle), f"{len(cycle)} matrices, then {len(again)}, for {nodes} nodes")
        for mixing, other in zip(cycle, again, strict=True):
            for name in Mixing._fields:
                what = f"{name} of W, made again for {nodes} nodes"
                promise_equal(getattr(other, name), getattr(mixing, name), what)


CHECKS = (
    matrices_are_sorted_rows_of_numbers,
    weights_sum_to_one,
    repeated_mixing_averages,
    same_seed_same_graph,
)
