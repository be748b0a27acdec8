"""How fast a topology averages: contraction, gossip rounds, and why a matrix does not contract."""

from dataclasses import dataclass
from functools import cached_property
from math import acosh, cosh

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.rounding import significant
from mpiqopt.topologies.mixing import Mixing

# Up to this size eigenvalues come from LAPACK (0.1 s); above, the largest ones from Lanczos.
DENSE_LIMIT = 800
# ||W^K - J|| below this is what ``gossip_rounds = "auto"`` asks for.
GOSSIP_TARGET = 0.25


@dataclass(frozen=True)
class Topology:
    """The mixing matrices of a network, used in turn by gossip round.

    ``contraction``: lambda = ||W - J||_2 < 1 with J = 11^T/n; for a cycle of c matrices the c-th root of
    ||W_c ... W_1 - J||_2.
    """

    name: str
    cycle: tuple[Mixing, ...]

    @property
    def nodes(self) -> int:
        return self.cycle[0].nodes

    @property
    def varies(self) -> bool:
        return len(self.cycle) > 1

    @cached_property
    def symmetric(self) -> bool:
        return all(mixing.is_symmetric() for mixing in self.cycle)

    @cached_property
    def contraction(self) -> float:
        if self.nodes == 1:
            return 0.0
        if not self.varies and self.symmetric:
            smallest, second = self._extreme_eigenvalues
            return significant(max(abs(smallest), abs(second)), 12)
        norm = _distance_from_average(list(self.cycle))
        return significant(norm ** (1 / len(self.cycle)), 12) if norm > 1e-14 else 0.0

    @cached_property
    def smallest_eigenvalue(self) -> float:
        """Of W (symmetric, one matrix); a lower bound if W is large."""
        return significant(self._extreme_eigenvalues[0], 12) if self.nodes > 1 else 1.0

    @cached_property
    def _extreme_eigenvalues(self) -> tuple[float, float]:
        """The smallest and the second largest eigenvalue of W; of large W a lower bound of the smallest."""
        (mixing,) = self.cycle
        if self.nodes <= DENSE_LIMIT:
            values = np.linalg.eigvalsh(mixing.dense())
            return float(values[0]), float(values[-2])
        return _gershgorin(mixing), _second_eigenvalue(mixing)

    def require_contraction(self) -> None:
        """Raise UsageError, with the reason and the cure, unless repeated mixing averages."""
        for mixing in self.cycle:
            _require_stochastic(self.name, mixing)
        # positive weights and diagonal: connected is enough, and no eigenvalue is needed
        positive = all(np.all(m.weights > 0) and len(m.columns) - m.links().sum() == self.nodes for m in self.cycle)
        if self.nodes <= DENSE_LIMIT or not positive:
            if self.contraction < 1 - 1e-12:
                return
        elif _parts(self.cycle).max() == 0:
            return
        parts = _parts(self.cycle)
        if parts.max() > 0:
            alone = np.flatnonzero(parts != parts[0])[:5].tolist()
            raise UsageError(
                f"topology {self.name}: the graph is not connected ({parts.max() + 1} parts; no path from node 0 to "
                f"{', '.join(map(str, alone))}); add links; of a random graph raise probability, radius or degree, or "
                "try another seed"
            )
        raise UsageError(
            f"topology {self.name}: W does not contract (||W - J|| = {self.contraction:.6g}, want < 1): its "
            "diagonal is zero and the graph bipartite, or a node's weights sum to more than 1; use weights = "
            "'lazy-metropolis', or smaller ones"
        )

    def reached(self, rounds: int, chebyshev: bool) -> float:
        """||P - J||_2 after so many gossip rounds from the start of the cycle.

        Chebyshev: 1/T_K(1/lambda). Plain: lambda^K (symmetric), or the norm of the product.
        """
        lam = self.contraction
        if lam == 0 and not self.varies:
            return 0.0
        if chebyshev and not self.varies:
            return 1 / cosh(min(rounds * acosh(1 / lam), 700))
        if self.symmetric and not self.varies:
            return lam**rounds
        return _distance_from_average([self.cycle[k % len(self.cycle)] for k in range(rounds)])

    def rounds_needed(self, chebyshev: bool, target: float = GOSSIP_TARGET) -> int:
        """Smallest K with ||P_K(W) - J|| <= target, by bisection: the norm does not grow with K."""
        step = 1
        target *= 1 + 1e-12  # lambda = 1/2 comes out as 0.5000000000000001
        while self.reached(step, chebyshev) > target:
            step *= 2
        low, high = step // 2, step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.reached(middle, chebyshev) <= target else (middle, high)
        return high


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


def _second_eigenvalue(mixing: Mixing) -> float:
    """Of a large symmetric W: by Lanczos, or by shift and invert where its gap to 1 is too small for that."""
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    matrix, nodes = mixing.sparse(), mixing.nodes
    # W - 2J: the eigenvalue 1 of equal rows becomes -1
    deflated = LinearOperator(matrix.shape, matvec=lambda v: matrix @ v - 2 * v.mean(), dtype=np.float64)
    try:
        values = eigsh(
            deflated, 1, which="LA", v0=_start(nodes), ncv=40, maxiter=60, tol=1e-10, return_eigenvectors=False
        )
        return float(values[0])
    except ArpackNoConvergence:
        # 1 - W is close to singular: lattices and the like, whose factors stay sparse
        gaps = (eye_array(nodes) - matrix).tocsc()
        values = eigsh(gaps, 2, sigma=-1e-10, which="LM", v0=_start(nodes), return_eigenvectors=False)
        return float(1 - values.max())


def _start(nodes: int) -> np.ndarray:
    """Where Lanczos iterations begin: fixed, because a value must not change from call to call."""
    return np.random.default_rng(0).standard_normal(nodes)


def _require_stochastic(name: str, mixing: Mixing) -> None:
    for kind, other in (("row", mixing), ("column", mixing.transpose())):
        sums = np.add.reduceat(other.weights, other.starts[:-1])
        worst = int(np.argmax(np.abs(sums - 1)))
        if abs(sums[worst] - 1) > 1e-9:
            raise UsageError(f"topology {name}: {kind} {worst} of W sums to {sums[worst]:.6g}, want 1")


def _parts(cycle: tuple[Mixing, ...]) -> np.ndarray:
    """Number of the connected part of each node in the union of the graphs (weights of 0 are no links)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = [mixing.weights != 0 for mixing in cycle]
    rows = np.concatenate([mixing.rows()[link] for mixing, link in zip(cycle, links, strict=True)])
    columns = np.concatenate([mixing.columns[link] for mixing, link in zip(cycle, links, strict=True)])
    nodes = cycle[0].nodes
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1]
