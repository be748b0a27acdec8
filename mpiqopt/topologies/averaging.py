"""How near products of mixing matrices are to the average: norms and eigenvalues of large sparse matrices.

Values steer steps and numbers of rounds, so they must not differ between machines: where libraries have found an
eigenvector, the eigenvalue is its Rayleigh quotient, whose last bits do not depend on theirs.
"""

from typing import Any

import numpy as np

from mpiqopt.arithmetic.eigenvalues import rayleigh_quotient
from mpiqopt.topologies.mixing import Mixing


def distance_from_average(factors: list[Mixing], dense: bool) -> float:
    """Return ||P - J||_2 of the product P = W_k ... W_1, J = 11^T/n.

    factors: W_1, ..., W_k, doubly stochastic (n, n), the first applied first; dense: by LAPACK from all entries (n^3
    operations), else by Lanczos from products with the sparse matrices, to 6 digits.
    """
    nodes = factors[0].nodes
    if dense:
        product = np.eye(nodes) - 1 / nodes
        for factor in factors:
            product = factor.dense() @ product
        return float(np.linalg.norm(product, 2))
    from scipy.sparse.linalg import LinearOperator, eigsh

    matrices = [factor.sparse() for factor in factors]

    def squared(v: np.ndarray) -> np.ndarray:  # (P - J)^T (P - J) v
        v = v - v.mean()
        for matrix in matrices:
            v = matrix @ v
        for matrix in reversed(matrices):
            v = matrix.T @ v
        return v - v.mean()

    operator = LinearOperator((nodes, nodes), matvec=squared, dtype=np.float64)
    largest = eigsh(operator, k=1, which="LA", v0=_start(nodes), tol=1e-6, return_eigenvectors=False)[0]
    return float(np.sqrt(max(largest, 0.0)))


def gershgorin_bound(mixing: Mixing) -> float:
    """Return min_i (w_ii - sum_{j != i} |w_ij|), below every eigenvalue; the smallest one of even rings and tori."""
    away = np.bincount(mixing.rows(), np.where(mixing.links(), -np.abs(mixing.weights), mixing.weights))
    return float(away.min())


def second_eigenvalue(matrix: Any) -> float:
    """Return the largest eigenvalue but that of equal rows, of a large symmetric W with W 1 = 1.

    matrix: SciPy sparse (n, n). By Lanczos, or by shift and invert where the gap to 1 is too small for that.
    """
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
    """Return where Lanczos iterations begin: fixed, because a value must not change from call to call."""
    return np.random.default_rng(0).standard_normal(nodes)
