"""How fast a topology averages and how far apart its nodes are; why a matrix does not contract."""

from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt

import numpy as np

from mpiqopt.arithmetic.eigenvalues import rayleigh_quotient
from mpiqopt.arithmetic.rounding import significant
from mpiqopt.errors import UsageError, quoted
from mpiqopt.terminal import shortened
from mpiqopt.topologies.chebyshev import Interval, extremes
from mpiqopt.topologies.graph import Made
from mpiqopt.topologies.mixing import Mixing, simple_arcs

# Up to this size eigenvalues come from LAPACK (0.1 s); above, the largest ones from Lanczos.
DENSE_LIMIT = 800
# Of eigenvalues: what is left out machines do not agree on, and steps follow from them.
DECIMALS = 12
# ||W^K - J|| below this is what ``gossip_rounds = "auto"`` asks for.
GOSSIP_TARGET = 0.75
# Up to so many nodes the diameter is exact.
DIAMETER_LIMIT = 3000
# Bytes of what one pass of the search from all nodes gathers, but for very dense graphs.
SEARCH_BYTES = 32_000_000

MORE_LINKS = "add links; of a random graph raise probability, radius or degree, or try another seed"
LARGEST_PART = "add links, or keep the largest part: topology.largest_component = true"
# of nodes that a message names, and characters of a name
SOME, SOME_NAMED, LONGEST_NAME = 5, 3, 12


@dataclass(frozen=True)
class Topology:
    """The mixing matrices of a network, used in turn by gossip round.

    ``contraction``: lambda = ||W - J||_2 < 1 with J = 11^T/n; for a cycle of c matrices the c-th root of
    ||W_c ... W_1 - J||_2. NaN unless W is doubly stochastic: it says nothing about other matrices. names: of the nodes,
    where a file has given them some; read: how it was understood, a few words by subject ("format": "graphml").
    """

    name: str
    cycle: tuple[Mixing, ...]
    names: tuple[str, ...] | None = None
    read: dict[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        return self.cycle[0].nodes

    @property
    def varies(self) -> bool:
        return len(self.cycle) > 1

    @cached_property
    def named(self) -> bool:
        """True if nodes have other names than their numbers."""
        return self.names is not None and self.names != tuple(map(str, range(self.nodes)))

    @cached_property
    def symmetric(self) -> bool:
        return all(mixing.is_symmetric() for mixing in self.cycle)

    @cached_property
    def normal(self) -> bool:
        """One matrix with W W^T = W^T W: then ||W^K - J|| = lambda^K, as for symmetric ones."""
        if self.varies or self.symmetric:
            return not self.varies
        matrix = self.cycle[0].sparse()
        difference = matrix @ matrix.T - matrix.T @ matrix
        return bool(np.abs(difference.data).max(initial=0.0) < 1e-12)

    @cached_property
    def doubly_stochastic(self) -> bool:
        """Rows and columns of every W sum to 1, so that mixing keeps equal rows and the mean."""
        sums = [sums for mixing in self.cycle for sums in (mixing.row_sums(), mixing.column_sums())]
        return all(_is_one(each).all() for each in sums)

    def arcs(self) -> np.ndarray:
        """Links of the union of the cycle, each once and sorted: int64 rows (from, to); weights of 0 are no links."""
        return simple_arcs(self.nodes, np.concatenate([mixing.arcs() for mixing in self.cycle]))

    @cached_property
    def directed(self) -> bool:
        """Some link has no link back in the union of the cycle; W may be doubly stochastic nevertheless."""
        arcs = self.arcs()
        return not np.array_equal(arcs, simple_arcs(self.nodes, arcs[:, ::-1]))

    @cached_property
    def strongly_connected(self) -> bool:
        """In the union of the cycle links lead from every node to every other."""
        from scipy.sparse.csgraph import connected_components

        return connected_components(_adjacency(self.nodes, self.arcs()), connection="strong")[0] == 1

    @cached_property
    def diameter(self) -> int:
        """Hops from a node to the node farthest from it, over links of the union of the cycle: max_ij dist(i -> j).

        Of more than DIAMETER_LIMIT nodes an upper bound, max_j dist(0 -> j) + max_i dist(i -> 0), at most twice as
        large. A network that varies may need a whole cycle for every hop. Raises UsageError unless it is strongly
        connected.
        """
        self.require_strong()
        if self.nodes <= DIAMETER_LIMIT:
            return _diameter(self.nodes, self.arcs())
        return int(sum(hops.max() for hops in self._hops_from_and_to_0()))

    def _hops_from_and_to_0(self) -> tuple[np.ndarray, np.ndarray]:
        """Hops from node 0 to every node, and from every node to node 0; infinite where there is no path."""
        from scipy.sparse.csgraph import shortest_path

        graph = _adjacency(self.nodes, self.arcs())
        away, back = (shortest_path(g, indices=0, unweighted=True) for g in (graph, graph.T.tocsr()))
        return away, back

    def knows(self, name: str) -> bool:
        """True if ``contraction`` or ``diameter`` is known already or quick to find."""
        return name in vars(self) or self.nodes <= DENSE_LIMIT

    @cached_property
    def contraction(self) -> float:
        if self.nodes == 1:
            return 0.0
        if not self.doubly_stochastic:
            return float("nan")
        if not self.varies and self.symmetric:
            return round(max(abs(self._smallest), abs(self._second_largest)), DECIMALS)
        if not self.varies and self.nodes > DENSE_LIMIT:
            matrix = self.cycle[0].sparse()
            return significant(sqrt(max(_second_eigenvalue(matrix.T @ matrix), 0.0)), 12)
        norm = _distance_from_average(list(self.cycle))
        return significant(norm ** (1 / len(self.cycle)), 12) if norm > 1e-14 else 0.0

    @cached_property
    def smallest_eigenvalue(self) -> float:
        """Of W (symmetric, one matrix); a lower bound if W is large."""
        return round(self._smallest, DECIMALS) if self.nodes > 1 else 1.0

    @cached_property
    def interval(self) -> Interval:
        """From the smallest to the second largest eigenvalue of W (symmetric, one matrix)."""
        return (self.smallest_eigenvalue, round(self._second_largest, DECIMALS)) if self.nodes > 1 else (0.0, 0.0)

    @cached_property
    def _smallest(self) -> float:
        return _gershgorin(self.cycle[0]) if self.nodes > DENSE_LIMIT else self._eigenvalue(0)

    @cached_property
    def _second_largest(self) -> float:
        """Eigenvalue of W (symmetric, one matrix)."""
        return _second_eigenvalue(self.cycle[0].sparse()) if self.nodes > DENSE_LIMIT else self._eigenvalue(-2)

    def _eigenvalue(self, position: int) -> float:
        """Of a small symmetric W; eigenvalues ascend."""
        mixing = self.cycle[0]
        return rayleigh_quotient(mixing.rows(), mixing.columns, mixing.weights, self._eigenvectors[:, position])

    @cached_property
    def _eigenvectors(self) -> np.ndarray:
        return np.linalg.eigh(self.cycle[0].dense())[1]

    def require_contraction(self) -> None:
        """Raise UsageError, with the reason and the cure, unless repeated mixing averages."""
        for mixing in self.cycle:
            _require_columns(self.name, mixing)
            _require_rows(self.name, mixing)
        # positive weights and diagonal: connected is enough, and no eigenvalue is needed
        positive = all(np.all(m.weights > 0) and len(m.columns) - m.links().sum() == self.nodes for m in self.cycle)
        if self.nodes <= DENSE_LIMIT or not positive:
            if self.contraction < 1 - 1e-12:
                return
        elif _parts(self.cycle).max() == 0:
            return
        parts = _parts(self.cycle)
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
        away, back = (np.isinf(hops) for hops in self._hops_from_and_to_0())
        first = f"node {self._called(0)}"
        paths = [f"from {first} to {self._some(away)}"] if away.any() else []
        paths += [f"from {self._some(back)} to {first}"] if back.any() else []
        raise UsageError(
            f"topology {self.name}: the graph is not strongly connected (no path {', none '.join(paths)}); "
            f"{self._more_links}"
        )

    def _called(self, node: int) -> str:
        """The name of a node as messages have it, by default its number."""
        return shortened(self.names[node], LONGEST_NAME) if self.named else str(node)

    def _some(self, chosen: np.ndarray) -> str:
        """The first few nodes of a mask."""
        nodes = np.flatnonzero(chosen)
        most = SOME_NAMED if self.named else SOME
        return ", ".join(map(self._called, nodes[:most].tolist())) + ", ..." * (len(nodes) > most)

    @property
    def _more_links(self) -> str:
        """The cure for a graph that is not connected. Of a file the largest part may be enough."""
        return LARGEST_PART if self.read and not self.varies else MORE_LINKS

    def reached(self, rounds: int, chebyshev: bool) -> float:
        """||P - J||_2 after so many gossip rounds from the start of the cycle.

        Chebyshev: the upper end of the polynomial's eigenvalues. Plain: lambda^K (W normal, as symmetric ones are), or
        the norm of the product; lambda^K is an upper bound for a large W that is not normal.
        """
        if chebyshev:
            return extremes(rounds, self.interval)[1]
        lam = self.contraction
        if not self.varies and (self.normal or self.nodes > DENSE_LIMIT):
            return lam**rounds
        if not self.varies:
            return float(np.linalg.norm(np.linalg.matrix_power(self.cycle[0].dense() - 1 / self.nodes, rounds), 2))
        return _distance_from_average([self.cycle[k % len(self.cycle)] for k in range(rounds)])

    def rounds_needed(self, chebyshev: bool, target: float = GOSSIP_TARGET) -> int:
        """Smallest K with ||P_K(W) - J|| <= target, by bisection: the norm does not grow with K.

        Raises UsageError if there is none.
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


def in_turn(kinds: list[str], graphs: list[Made]) -> Topology:
    """Return the topology of graphs that are used in turn. Raises UsageError for those whose nodes are not the same."""
    cycle = tuple(mixing for graph in graphs for mixing in graph.cycle)
    if len({mixing.nodes for mixing in cycle}) > 1:
        raise UsageError(f"topology: the graphs of a list differ in nodes: {[mixing.nodes for mixing in cycle]}")
    names, *others = [graph.names for graph in graphs if graph.names is not None] or [None]
    for other in others:
        if other != names:
            node = next(i for i, (a, b) in enumerate(zip(names, other, strict=True)) if a != b)
            raise UsageError(
                f"topology: the graphs of a list differ in names of nodes: node {node} is {quoted(names[node])} and "
                f"{quoted(other[node])}"
            )
    read = {
        subject + f" of graph {place}" * (len(graphs) > 1): words
        for place, graph in enumerate(graphs, 1)
        for subject, words in graph.read.items()
    }
    return Topology(" + ".join(kinds), cycle, names, read)


def _distance_from_average(factors: list[Mixing]) -> float:
    """||P - J||_2 of the product P of mixing matrices, the first applied first."""
    nodes = factors[0].nodes
    if nodes <= DENSE_LIMIT:
        product = np.eye(nodes) - 1 / nodes
        for factor in factors:
            product = factor.dense() @ product
        return float(np.linalg.norm(product, 2))
    from scipy.sparse.linalg import LinearOperator, eigsh

    matrices = [factor.sparse() for factor in factors]

    def squared(v: np.ndarray) -> np.ndarray:
        v = v - v.mean()
        for matrix in matrices:
            v = matrix @ v
        for matrix in reversed(matrices):
            v = matrix.T @ v
        return v - v.mean()

    operator = LinearOperator((nodes, nodes), matvec=squared, dtype=np.float64)
    largest = eigsh(operator, k=1, which="LA", v0=_start(nodes), tol=1e-6, return_eigenvectors=False)[0]
    return float(np.sqrt(max(largest, 0.0)))


def _gershgorin(mixing: Mixing) -> float:
    """min_i (w_ii - sum_j |w_ij|), below every eigenvalue; the smallest one itself for even rings and tori."""
    away = np.bincount(mixing.rows(), np.where(mixing.links(), -np.abs(mixing.weights), mixing.weights))
    return float(away.min())


def _second_eigenvalue(matrix) -> float:
    """Of a large symmetric W (sparse): by Lanczos, or by shift and invert where its gap to 1 is too small for that."""
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    nodes = matrix.shape[0]
    # W - 2J: the eigenvalue 1 of equal rows becomes -1
    deflated = LinearOperator(matrix.shape, matvec=lambda v: matrix @ v - 2 * v.mean(), dtype=np.float64)
    try:
        vector = eigsh(deflated, 1, which="LA", v0=_start(nodes), ncv=40, maxiter=60, tol=1e-10)[1][:, 0]
    except ArpackNoConvergence:
        # 1 - W is close to singular: lattices and the like, whose factors stay sparse
        gaps = (eye_array(nodes) - matrix).tocsc()
        values, vectors = eigsh(gaps, 2, sigma=-1e-10, which="LM", v0=_start(nodes))
        vector = vectors[:, np.argmax(values)]
    entries = matrix.tocoo()
    return rayleigh_quotient(entries.row, entries.col, entries.data, vector)


def _start(nodes: int) -> np.ndarray:
    """Where Lanczos iterations begin: fixed, because a value must not change from call to call."""
    return np.random.default_rng(0).standard_normal(nodes)


def _is_one(sums: np.ndarray) -> np.ndarray:
    return np.abs(sums - 1) <= 1e-9


def _require_columns(name: str, mixing: Mixing) -> None:
    sums = mixing.column_sums()
    if not _is_one(sums).all():
        worst = int(np.argmax(np.abs(sums - 1)))
        raise UsageError(f"topology {name}: column {worst} of W sums to {sums[worst]:.6g}, want 1")


def _require_rows(name: str, mixing: Mixing) -> None:
    """After ``_require_columns``."""
    sums = mixing.row_sums()
    if not _is_one(sums).all():
        worst = int(np.argmax(np.abs(sums - 1)))
        raise UsageError(
            f"topology {name}: the columns of W sum to 1 but not its rows (row {worst}: {sums[worst]:.6g}), as usual "
            "for a digraph; only methods for directed graphs can use it (mpiqopt list algorithm)"
        )


def _adjacency(nodes: int, arcs: np.ndarray):
    """A SciPy CSR array with an entry at (from, to) of every arc."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(arcs)), (arcs[:, 0], arcs[:, 1])), shape=(nodes, nodes))


def _diameter(nodes: int, arcs: np.ndarray) -> int:
    """Largest distance in a strongly connected graph, by breadth-first search from 64 nodes at once, a bit for each.

    SciPy's search from node after node takes longer, for dense graphs 50 times.
    """
    node = np.arange(nodes)
    sender, receiver = np.concatenate([arcs, np.stack([node, node], axis=1)]).T
    sender = sender[np.argsort(receiver, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(receiver))[:-1]])
    words = max(1, SEARCH_BYTES // (8 * len(sender)))
    return max(_steps(node[first : first + 64 * words], sender, starts) for first in range(0, nodes, 64 * words))


def _steps(sources: np.ndarray, sender: np.ndarray, starts: np.ndarray) -> int:
    """Hops until every node has heard of all sources. Node i hears from sender[starts[i] : starts[i + 1]]."""
    bit = np.arange(len(sources))
    heard = np.zeros((len(starts), -(-len(sources) // 64)), np.uint64)
    heard[sources, bit // 64] = np.uint64(1) << (bit % 64).astype(np.uint64)
    everything = np.bitwise_or.reduce(heard)
    steps = 0
    while (heard != everything).any():
        heard = np.bitwise_or.reduceat(heard[sender], starts)
        steps += 1
    return steps


def _parts(cycle: tuple[Mixing, ...]) -> np.ndarray:
    """Number of the connected part of each node in the union of the graphs (weights of 0 are no links)."""
    from scipy.sparse.csgraph import connected_components

    graph = _adjacency(cycle[0].nodes, np.concatenate([mixing.arcs() for mixing in cycle]))
    return connected_components(graph, directed=False)[1]
