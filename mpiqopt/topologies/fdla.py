"""Fastest distributed linear averaging: the symmetric weights of the smallest ||W - J||_2 (Xiao and Boyd 2004).

A semidefinite program in the weights w_e of the edges and a bound s, with b_e = e_i - e_j for the edge e = ij:

    minimise s  subject to  S_0 = s I - (W - J) >= 0,  S_1 = s I + (W - J) >= 0,  W = I - sum_e w_e b_e b_e^T;
    maximise tr((X_0 - X_1)(I - J))  subject to  X_0, X_1 >= 0,  tr X_0 + tr X_1 = 1,  b_e^T (X_0 - X_1) b_e = 0.

The first value is above the second by tr X_0 S_0 + tr X_1 S_1, which bounds how far both are from the optimum. Solved
by the interior-point method of Helmberg, Rendl, Vanderbei and Wolkowicz (1996), with Mehrotra's predictor and corrector
(1992). All sums are in a fixed order, for the same bits on every machine: BLAS and LAPACK have orders of their own.

Arrays: y = (s, w_1, ..., w_m) is (1 + m,); ``slack`` and ``dual`` are S and X, pairs of matrices (2, n, n).
"""

from dataclasses import dataclass

import numpy as np

from mpiqopt.errors import UsageError

# nodes: the time grows with the cube of the edges, of which there may be n^2/2
LARGEST = 64
# of the distance to the optimum, relative to s
GAP = 1e-7
# 9 to 14 are needed
ITERATIONS = 50
# of the way to where a matrix becomes singular, what a step goes at most
FRACTION = 0.95
# what a step that is too long is multiplied by, and when it is given up
SHORTER = 0.9
SHORTEST = 1e-4
# Pivots below this, relative to the diagonal, are rounding errors.
NOTHING = 1e-14
# Weights are multiples of 1 / GRID: rows of W sum to exactly 1 in any order, and edges that are alike weigh the same.
GRID = 2.0**36
# rows of a block that stays in the second-level cache while pivots are eliminated from it
BLOCK = 32


def fastest_weights(nodes: int, edges: np.ndarray) -> np.ndarray:
    """Return the weights w_e of the edges that minimise ||W - J||_2, W = I - sum_e w_e b_e b_e^T, J = 11^T/n.

    Some may be negative. Where others are as good, those returned are in the middle of them; so they are if the graph
    is not connected, where ||W - J|| >= 1. The time grows with m^3: 0.3 s for 200 edges, 6 s for 1000.

    Parameters
    ----------
    nodes:
        n, at most 64
    edges:
        int64 (m, 2), each undirected edge once, without loops

    Returns
    -------
    numpy.ndarray
        float64 (m,), the same bits on every machine; ||W - J||_2 is above the optimum by a relative 2e-7 at most

    Raises
    ------
    UsageError
        for more than 64 nodes, and if the optimum is not found

    References
    ----------
    Xiao and Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.

    Examples
    --------
    The path 0 -- 1 -- 2: both edges get 1/2, and W - J has norm 1/2.

    >>> [round(weight, 3) for weight in fastest_weights(3, np.array([[0, 1], [1, 2]])).tolist()]
    [0.5, 0.5]
    """
    if nodes > LARGEST:
        raise UsageError(
            f"topology.weights = 'fdla': solved for at most {LARGEST} nodes, got {nodes}; want metropolis, "
            "lazy-metropolis or uniform"
        )
    if len(edges) == nodes * (nodes - 1) // 2:
        return np.full(len(edges), 1.0 / nodes)  # W = J
    y, _ = semidefinite_optimum(nodes, edges)
    return np.rint(y[1:] * GRID) / GRID


def semidefinite_optimum(nodes: int, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return y (1 + m,) and ``dual`` (2, n, n), feasible up to rounding, whose values differ by at most GAP * s.

    Each iteration takes a predictor step towards the optimum, which says how far one can go, and then a corrector step
    towards X S = aim I, on the central path. Raises UsageError if ITERATIONS of them are not enough.
    """
    program = _Program(nodes, edges)
    y, dual = program.start()
    for _ in range(ITERATIONS):
        slack = program.slack(y)
        gap = _inner(dual, slack)
        if gap <= GAP * y[0]:
            return y, dual
        newton = _Newton(program, dual, slack)
        _, d_slack, d_dual = newton.direction(np.zeros_like(dual))
        left = _inner(dual + _step(dual, d_dual) * d_dual, slack + _step(slack, d_slack) * d_slack) / gap
        aim = left * left * gap / (2 * nodes)
        dy, d_slack, d_dual = newton.direction(aim * newton.inverse - newton.scaled(d_dual, d_slack))
        y = y + _step(slack, d_slack) * dy
        dual = dual + _step(dual, d_dual) * d_dual
    raise UsageError(
        f"topology.weights = 'fdla': still {gap / y[0]:.1e} from the optimum after {ITERATIONS} steps; want "
        "metropolis, lazy-metropolis or uniform"
    )


@dataclass(frozen=True)
class _Program:
    """Map between y and pairs of matrices as the semidefinite program of a graph does."""

    nodes: int
    edges: np.ndarray

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Return y of Metropolis weights and s = 2, and a multiple of I as ``dual``: both strictly feasible."""
        larger = np.bincount(self.edges.ravel(), minlength=self.nodes)[self.edges].max(axis=1)
        dual = np.stack([np.eye(self.nodes)] * 2) / (2 * self.nodes)
        return np.concatenate([[2.0], 1.0 / (1.0 + larger)]), dual

    def slack(self, y: np.ndarray) -> np.ndarray:
        """Return S_0 and S_1."""
        deviation = np.eye(self.nodes) - 1.0 / self.nodes
        return self.spread(y) + np.stack([-deviation, deviation])

    def spread(self, y: np.ndarray) -> np.ndarray:
        """Return the part of S that is linear in y: s I + L and s I - L, L = sum_e w_e b_e b_e^T."""
        i, j = self.edges.T
        laplacian = np.zeros((self.nodes, self.nodes))
        laplacian[i, j] = laplacian[j, i] = -y[1:]
        np.fill_diagonal(laplacian, np.bincount(self.edges.ravel(), np.repeat(y[1:], 2), minlength=self.nodes))
        multiple = y[0] * np.eye(self.nodes)
        return np.stack([multiple + laplacian, multiple - laplacian])

    def gather(self, pair: np.ndarray) -> np.ndarray:
        """Return tr X_0 + tr X_1 and all b_e^T (X_0 - X_1) b_e, (1 + m,): the adjoint of ``spread``."""
        i, j = self.edges.T
        trace = np.add.reduce((pair[0] + pair[1]).diagonal().copy())
        difference = pair[0] - pair[1]
        return np.concatenate([[trace], difference[i, i] + difference[j, j] - 2 * difference[i, j]])

    def schur(self, dual: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """Return the matrix of y -> ``gather``(X ``spread``(y) S^-1), symmetric, (1 + m, 1 + m)."""
        i, j = self.edges.T
        matrix = np.zeros((1 + len(i), 1 + len(i)))
        for sign, x, v in zip((1, -1), dual, inverse, strict=True):
            x_b, v_b = x[i] - x[j], v[i] - v[j]
            matrix[1:, 1:] += (x_b[:, i] - x_b[:, j]) * (v_b[:, i] - v_b[:, j])
            matrix[0, 1:] += sign * np.add.reduce(x_b * v_b, axis=1)
        matrix[1:, 0] = matrix[0, 1:]
        matrix[0, 0] = _inner(dual, inverse)
        return matrix


class _Newton:
    """Find directions in which the product X S comes nearer to a multiple of I and X remains feasible.

    dual, slack: X and S, positive definite. After Helmberg, Rendl, Vanderbei and Wolkowicz, "An interior-point method
    for semidefinite programming", SIAM Journal on Optimization 6, 1996. Its linear system, (1 + m, 1 + m), is factored
    once for predictor and corrector.
    """

    def __init__(self, program: _Program, dual: np.ndarray, slack: np.ndarray) -> None:
        self.program, self.dual = program, dual
        self.inverse = _inverses(slack)
        self.factors = _factors(program.schur(dual, self.inverse))

    def scaled(self, d_dual: np.ndarray, d_slack: np.ndarray) -> np.ndarray:
        """Return the symmetric part of dX dS S^-1."""
        product = _products(_products(d_dual, d_slack), self.inverse)
        return (product + product.swapaxes(1, 2)) / 2

    def direction(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return dy, dS and dX = target - X - (symmetric part of X dS S^-1)."""
        wanted = np.zeros(len(self.factors))
        wanted[0] = 1.0
        dy = _solution(self.factors, self.program.gather(target) - wanted)
        d_slack = self.program.spread(dy)
        return dy, d_slack, target - self.dual - self.scaled(self.dual, d_slack)


def _step(pair: np.ndarray, direction: np.ndarray) -> float:
    """Return the length of a step, at most 1, that leaves both matrices positive definite; 0 if it is very short."""
    length = 1.0
    while not _positive(pair + length / FRACTION * direction):
        length *= SHORTER
        if length < SHORTEST:
            return 0.0
    return length


def _inner(a: np.ndarray, b: np.ndarray) -> float:
    """Return tr A_0 B_0 + tr A_1 B_1 of symmetric matrices."""
    return float(np.add.reduce((a * b).ravel()))


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return A_0 B_0 and A_1 B_1."""
    out = np.zeros_like(a)
    for k in range(a.shape[1]):
        out += a[:, :, k, None] * b[:, k, None, :]
    return out


def _positive(pair: np.ndarray) -> bool:
    """Return True if both symmetric matrices are positive definite: their pivots are positive."""
    left = pair.copy()
    for k in range(left.shape[1]):
        pivot, row = left[:, k, k], left[:, k, k + 1 :]
        if not (pivot > 0).all():
            return False
        left[:, k + 1 :, k + 1 :] -= row[:, :, None] * (row / pivot[:, None])[:, None, :]
    return True


def _inverses(pair: np.ndarray) -> np.ndarray:
    """Return the inverses of positive definite matrices, symmetric to the last bit: A = R^T R, A^-1 = R^-1 R^-T."""
    left, lower = pair.copy(), np.stack([np.eye(pair.shape[1])] * 2)
    for k in range(left.shape[1]):
        root = np.sqrt(left[:, k, k])[:, None]
        row = left[:, k, k + 1 :] / root
        lower[:, k] /= root
        left[:, k + 1 :, k + 1 :] -= row[:, :, None] * row[:, None, :]
        lower[:, k + 1 :, : k + 1] -= row[:, :, None] * lower[:, k, None, : k + 1]
    return _products(lower.swapaxes(1, 2), lower)


def _factors(matrix: np.ndarray) -> np.ndarray:
    """Return D (on the diagonal) and R (above it) of a positive definite matrix R^T D R, R unit upper triangular."""
    left, size, smallest = matrix.copy(), len(matrix), NOTHING * np.diagonal(matrix)
    scaled, product = np.zeros((BLOCK, size)), np.empty((BLOCK, size))
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        for k in range(start, end):
            if not left[k, k] > smallest[k]:
                left[k, k] = np.inf  # no step along what rounding has made singular
            scaled[k - start, k + 1 :] = left[k, k + 1 :] / left[k, k]
            left[k + 1 : end, k + 1 :] -= scaled[k - start, k + 1 : end, None] * left[k, k + 1 :]
        for top in range(end, size, BLOCK):
            block = left[top : top + BLOCK, top:]
            out = product[: len(block), top:]
            for k in range(start, end):
                block -= np.multiply(scaled[k - start, top : top + BLOCK, None], left[k, top:], out=out)
        for k in range(start, end):
            left[k, k + 1 :] = scaled[k - start, k + 1 :]
    return left


def _solution(factors: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return x with R^T D R x = right."""
    x = right.copy()
    for k in range(len(x)):
        x[k + 1 :] -= factors[k, k + 1 :] * x[k]
    x /= np.diagonal(factors)
    for k in range(len(x) - 1, 0, -1):
        x[:k] -= factors[:k, k] * x[k]
    return x
