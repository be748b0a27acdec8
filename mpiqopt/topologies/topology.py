"""What is known of a network's mixing matrices: how fast they average, how far apart nodes are, why one does not."""

from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt

import numpy as np

from mpiqopt.arithmetic.eigenvalues import rayleigh_quotient
from mpiqopt.arithmetic.rounding import round_significant
from mpiqopt.errors import UsageError, quote_in_error
from mpiqopt.terminal import shorten_for_terminal
from mpiqopt.topologies.averaging import distance_from_average, gershgorin_bound, second_eigenvalue
from mpiqopt.topologies.chebyshev import Interval, polynomial_extremes
from mpiqopt.topologies.connectivity import connected_parts, exact_diameter, hops_from_and_to_0, is_strongly_connected
from mpiqopt.topologies.graph import Made
from mpiqopt.topologies.mixing import Mixing, simple_arcs

# Up to so many nodes eigenvalues come from LAPACK (0.1 s), above that the largest ones from Lanczos.
DENSE_LIMIT = 800
# Eigenvalues are rounded to so many decimals: on the others machines do not agree, and steps follow from eigenvalues.
DECIMALS = 12
# ||W^K - J|| below this is what ``gossip_rounds = "auto"`` asks for.
GOSSIP_TARGET = 0.75
# Up to so many nodes the diameter is exact.
DIAMETER_LIMIT = 3000

MORE_LINKS = "add links; of a random graph raise probability, radius or degree, or try another seed"
LARGEST_PART = "add links, or keep the largest part: topology.largest_component = true"
# nodes that a message names, the same where they have names, and characters of a name
SOME, SOME_NAMED, LONGEST_NAME = 5, 3, 12


@dataclass(frozen=True)
class Topology:
    """Describe the mixing matrices of a network, which gossip rounds use in turn.

    One round replaces the row x_i of each node by sum_j w_ij x_j. Properties are computed when they are first asked
    for; J = 11^T/n is the matrix that averages exactly.

    Attributes
    ----------
    name:
        of the graph, or of several joined by " + ", for messages
    cycle:
        W_1, ..., W_c, used in turn; one unless the network varies in time
    names:
        of the n nodes, where a file has given them some
    read:
        how the file was understood, a few words by subject: ``{"format": "graphml"}``

    Examples
    --------
    >>> from mpiqopt.topologies.lattices import Ring
    >>> ring = topology_in_turn(["ring"], [Ring(nodes=4).make()])
    >>> round(ring.contraction, 6), ring.diameter, ring.rounds_needed(chebyshev=False)
    (0.333333, 2, 1)
    """

    name: str
    cycle: tuple[Mixing, ...]
    names: tuple[str, ...] | None = None
    read: dict[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        """Return n."""
        return self.cycle[0].nodes

    @property
    def varies(self) -> bool:
        """Return True if rounds use several matrices in turn."""
        return len(self.cycle) > 1

    @cached_property
    def named(self) -> bool:
        """Return True if nodes have other names than their numbers."""
        return self.names is not None and self.names != tuple(map(str, range(self.nodes)))

    @cached_property
    def symmetric(self) -> bool:
        """Return True if every W is symmetric, up to 1e-12."""
        return all(mixing.is_symmetric() for mixing in self.cycle)

    @cached_property
    def normal(self) -> bool:
        """Return True for one matrix with W W^T = W^T W: then ||W^K - J|| = lambda^K, as for symmetric ones."""
        if self.varies or self.symmetric:
            return not self.varies
        matrix = self.cycle[0].sparse()
        difference = matrix @ matrix.T - matrix.T @ matrix
        return bool(np.abs(difference.data).max(initial=0.0) < 1e-12)

    @cached_property
    def doubly_stochastic(self) -> bool:
        """Return True if rows and columns of every W sum to 1, so that mixing keeps equal rows and the mean."""
        sums = [sums for mixing in self.cycle for sums in (mixing.row_sums(), mixing.column_sums())]
        return all(_is_one(each).all() for each in sums)

    def arcs(self) -> np.ndarray:
        """Return the links of the union of the cycle as int64 rows (from, to), (E, 2), each once and sorted.

        Node i receives from node j where w_ij != 0.
        """
        return simple_arcs(self.nodes, np.concatenate([mixing.arcs() for mixing in self.cycle]))

    @cached_property
    def directed(self) -> bool:
        """Return True if a link has no link back in the union of the cycle; W may be doubly stochastic all the same."""
        arcs = self.arcs()
        return not np.array_equal(arcs, simple_arcs(self.nodes, arcs[:, ::-1]))

    @cached_property
    def strongly_connected(self) -> bool:
        """Return True if in the union of the cycle links lead from every node to every other."""
        return is_strongly_connected(self.nodes, self.arcs())

    @cached_property
    def diameter(self) -> int:
        """Return the hops between the nodes farthest apart, over links of the union of the cycle: max_ij dist(i -> j).

        Of more than DIAMETER_LIMIT nodes an upper bound, max_j dist(0 -> j) + max_i dist(i -> 0), at most twice as
        large. A network that varies may need a whole cycle for every hop. Raises UsageError unless it is strongly
        connected.
        """
        self.require_strong()
        if self.nodes <= DIAMETER_LIMIT:
            return exact_diameter(self.nodes, self.arcs())
        return int(sum(hops.max() for hops in hops_from_and_to_0(self.nodes, self.arcs())))

    def knows(self, name: str) -> bool:
        """Return True if ``contraction`` or ``diameter`` is known already or quick to find. name: which of them."""
        return name in vars(self) or self.nodes <= DENSE_LIMIT

    @cached_property
    def contraction(self) -> float:
        """Return lambda = ||W - J||_2, the factor by which a round brings rows closer to their mean, at least.

        For a cycle of c matrices the c-th root of ||W_c ... W_1 - J||_2. NaN unless W is doubly stochastic: it says
        nothing about other matrices.
        """
        if self.nodes == 1:
            return 0.0
        if not self.doubly_stochastic:
            return float("nan")
        if not self.varies and self.symmetric:
            return round(max(abs(self._smallest), abs(self._second_largest)), DECIMALS)
        if not self.varies and self.nodes > DENSE_LIMIT:
            matrix = self.cycle[0].sparse()
            return round_significant(sqrt(max(second_eigenvalue(matrix.T @ matrix), 0.0)), 12)
        norm = distance_from_average(list(self.cycle), self.nodes <= DENSE_LIMIT)
        return round_significant(norm ** (1 / len(self.cycle)), 12) if norm > 1e-14 else 0.0

    @cached_property
    def smallest_eigenvalue(self) -> float:
        """Return that of W (symmetric, one matrix); a lower bound if W is large."""
        return round(self._smallest, DECIMALS) if self.nodes > 1 else 1.0

    @cached_property
    def interval(self) -> Interval:
        """Return the smallest and the second largest eigenvalue of W (symmetric, one matrix)."""
        return (self.smallest_eigenvalue, round(self._second_largest, DECIMALS)) if self.nodes > 1 else (0.0, 0.0)

    @cached_property
    def _smallest(self) -> float:
        return gershgorin_bound(self.cycle[0]) if self.nodes > DENSE_LIMIT else self._eigenvalue(0)

    @cached_property
    def _second_largest(self) -> float:
        return second_eigenvalue(self.cycle[0].sparse()) if self.nodes > DENSE_LIMIT else self._eigenvalue(-2)

    def _eigenvalue(self, position: int) -> float:
        """Return an eigenvalue of a small symmetric W by its place; they ascend."""
        mixing = self.cycle[0]
        return rayleigh_quotient(mixing.rows(), mixing.columns, mixing.weights, self._eigenvectors[:, position])

    @cached_property
    def _eigenvectors(self) -> np.ndarray:
        return np.linalg.eigh(self.cycle[0].dense())[1]

    def require_contraction(self) -> None:
        """Raise UsageError, with the reason and the cure, unless lambda < 1: repeated mixing averages."""
        for mixing in self.cycle:
            _require_columns(self.name, mixing)
            _require_rows(self.name, mixing)
        # positive weights and diagonal: connected is enough, and no eigenvalue is needed
        positive = all(np.all(m.weights > 0) and len(m.columns) - m.links().sum() == self.nodes for m in self.cycle)
        by_parts = positive and self.nodes > DENSE_LIMIT
        if not by_parts and self.contraction < 1 - 1e-12:
            return
        parts = connected_parts(self.nodes, np.concatenate([mixing.arcs() for mixing in self.cycle]))
        if by_parts and parts.max() == 0:
            return
        if parts.max() > 0:
            raise UsageError(
                f"topology {self.name}: the graph is not connected ({parts.max() + 1} parts; no path from node "
                f"{self._called(0)} to {self._some(parts != parts[0])}); {self._more_links}"
            )
        raise UsageError(
            f"topology {self.name}: W does not contract (||W - J|| = {self.contraction:.6g}, want < 1); use weights = "
            "'lazy-metropolis', or smaller ones: the graph is bipartite, or a node's weights sum to more than 1"
        )

    def require_strong(self) -> None:
        """Raise UsageError, with the reason and the cure, unless a method for directed graphs can use the topology.

        Columns of W sum to 1, and there is a path from every node to every other.
        """
        for mixing in self.cycle:
            _require_columns(self.name, mixing)
        if self.strongly_connected:
            return
        away, back = (np.isinf(hops) for hops in hops_from_and_to_0(self.nodes, self.arcs()))
        first = f"node {self._called(0)}"
        paths = [f"from {first} to {self._some(away)}"] if away.any() else []
        paths += [f"from {self._some(back)} to {first}"] if back.any() else []
        raise UsageError(
            f"topology {self.name}: the graph is not strongly connected (no path {', none '.join(paths)}); "
            f"{self._more_links}"
        )

    def _called(self, node: int) -> str:
        """Return the name of a node as messages have it, by default its number."""
        names = self.names if self.named else None
        return str(node) if names is None else shorten_for_terminal(names[node], LONGEST_NAME)

    def _some(self, chosen: np.ndarray) -> str:
        """Return the first few nodes of a mask, bool (n,)."""
        nodes = np.flatnonzero(chosen)
        most = SOME_NAMED if self.named else SOME
        return ", ".join(map(self._called, nodes[:most].tolist())) + ", ..." * (len(nodes) > most)

    @property
    def _more_links(self) -> str:
        """Return the cure for a graph that is not connected. Of a file the largest part may be enough."""
        return LARGEST_PART if self.read and not self.varies else MORE_LINKS

    def reached(self, rounds: int, chebyshev: bool) -> float:
        """Return ||P - J||_2 after so many gossip rounds from the start of the cycle.

        rounds: K; chebyshev: P = P_K(W), whose largest eigenvalue is the answer (one symmetric W). Plain: lambda^K (W
        normal, as symmetric ones are), or the norm of the product; lambda^K is an upper bound for a large W that is not
        normal.
        """
        if chebyshev:
            return polynomial_extremes(rounds, self.interval)[1]
        lam = self.contraction
        if not self.varies and (self.normal or self.nodes > DENSE_LIMIT):
            return lam**rounds
        if not self.varies:
            return float(np.linalg.norm(np.linalg.matrix_power(self.cycle[0].dense() - 1 / self.nodes, rounds), 2))
        factors = [self.cycle[k % len(self.cycle)] for k in range(rounds)]
        return distance_from_average(factors, self.nodes <= DENSE_LIMIT)

    def rounds_needed(self, chebyshev: bool, target: float = GOSSIP_TARGET) -> int:
        """Return the smallest K with ||P_K(W) - J|| <= target, by bisection: the norm does not grow with K.

        chebyshev: as in ``reached``; target: between 0 and 1. Raises UsageError if there is no such K.
        """
        self.require_contraction()
        step = 1
        target *= 1 + 1e-12  # lambda = 1/2 comes out as 0.5000000000000001
        while self.reached(step, chebyshev) > target:
            step *= 2
        low, high = step // 2, step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.reached(middle, chebyshev) <= target else (middle, high)
        return high


def topology_in_turn(kinds: list[str], graphs: list[Made]) -> Topology:
    """Return the topology of graphs that are used in turn. kinds: what messages call each.

    Raises UsageError unless all have the same nodes: as many, and of the same names as far as they have some.
    """
    cycle = tuple(mixing for graph in graphs for mixing in graph.cycle)
    if len({mixing.nodes for mixing in cycle}) > 1:
        raise UsageError(f"topology: the graphs of a list differ in nodes: {[mixing.nodes for mixing in cycle]}")
    known = [graph.names for graph in graphs if graph.names is not None]
    names = known[0] if known else None
    for other in known[1:]:
        if other != known[0]:
            node = next(i for i, (a, b) in enumerate(zip(known[0], other, strict=True)) if a != b)
            raise UsageError(
                f"topology: the graphs of a list differ in names of nodes: node {node} is "
                f"{quote_in_error(known[0][node])} and {quote_in_error(other[node])}"
            )
    read = {
        subject + f" of graph {place}" * (len(graphs) > 1): words
        for place, graph in enumerate(graphs, 1)
        for subject, words in graph.read.items()
    }
    return Topology(" + ".join(kinds), cycle, names, read)


def _is_one(sums: np.ndarray) -> np.ndarray:
    return np.abs(sums - 1) <= 1e-9


def _require_columns(name: str, mixing: Mixing) -> None:
    """Raise UsageError, with the worst column, unless 1^T W = 1^T up to 1e-9."""
    sums = mixing.column_sums()
    if not _is_one(sums).all():
        worst = int(np.argmax(np.abs(sums - 1)))
        raise UsageError(f"topology {name}: column {worst} of W sums to {sums[worst]:.6g}, want 1")


def _require_rows(name: str, mixing: Mixing) -> None:
    """Raise UsageError, with the worst row, unless W 1 = 1 up to 1e-9; columns are right already."""
    sums = mixing.row_sums()
    if not _is_one(sums).all():
        worst = int(np.argmax(np.abs(sums - 1)))
        raise UsageError(
            f"topology {name}: the columns of W sum to 1 but not its rows (row {worst}: {sums[worst]:.6g}), as usual "
            "for a digraph; only methods for directed graphs can use it (mpiqopt list algorithm)"
        )
