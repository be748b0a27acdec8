"""The largest stable step of a linear method: the circle criterion, for any convex f_i and any mixing matrix.

A method is linear but for its gradients: s+ = A s - a B g(C s), with A, B, C made of W. Let every f_i be convex with
an L-Lipschitz gradient, however unequal. Gradients then satisfy <g(x) - g(y), x - y> >= |g(x) - g(y)|^2 / L, and the
iteration converges for a L < r if, on the unit circle,

    (G + G^H)/2 >= -1/r,   G(z) = C (z I - A)^-1 B,

while A mixes (its eigenvalues but those of equal rows are inside the circle). The criterion is that of Zames (1966)
in discrete time; its use here is ours. For matrices in turn, s and g are those of a whole cycle.

Where only the columns of W sum to 1, C divides by the weights of push-sum (``push_tracking_recursions``). Close to
z = 1, G then is a multiple of 11^T, as for other methods: the criterion needs no factors for the gradients.

For one W that commutes with its transpose, G splits into one number for each eigenvalue of W. Examples, at z = -1 and
exact for equal Hessians: EXTRA r = (5 + 3 lambda_min)/4; gradient tracking r = (1 - mu)^2 / (2 mu^2), mu = -lambda_min.

>>> mu = 0.6  # of W = diag(1, -mu) in its eigenvectors
>>> r = largest_stable_linear_step([np.array([1.0, -mu]).reshape(-1, 1, 1)], tracking_recursion)
>>> round(r, 4), round((1 - mu) ** 2 / (2 * mu**2), 4)
(0.2222, 0.2222)
"""

from collections.abc import Callable
from math import gcd
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import DESCENT
from mpiqopt.arithmetic.rounding import round_significant
from mpiqopt.topologies.chebyshev import damped_interval, polynomial_extremes
from mpiqopt.topologies.mixing import Mixing
from mpiqopt.topologies.topology import DENSE_LIMIT, Topology

# rows of a whole cycle up to which matrices that do not commute are tried
MATRIX_LIMIT = 384
# eigenvalues and points of the circle that are tried
EIGENVALUES, POINTS = 65, 64
# so many eigenvalues of A, the closest to the circle, have more points tried around them
RESONANCES = 8
# eigenvalues closer than this to the circle count as those of equal rows
CLOSEST = 1e-6
# of those, how far the points are from the nearest one, in units of its distance from the eigenvalue
NEARBY = [sign * far for far in (0.05, 0.1, 0.2, 0.3, 0.42, 0.58, 0.8, 1.1, 1.5, 2.0, 3.0, 5.0) for sign in (-1, 1)]


class Recursion(NamedTuple):
    """s+ = A s - a B g, x = C s; arrays (..., s n, s n), (..., s n, n) and (..., n, s n)."""

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray


def block_matrix(rows: list[list[np.ndarray | float]]) -> np.ndarray:
    """Return a matrix from square blocks (..., n, n); a number stands for that multiple of I."""
    shape = np.broadcast_shapes(*(block.shape for row in rows for block in row if not isinstance(block, int | float)))
    eye = np.broadcast_to(np.eye(shape[-1]), shape)
    wide = [
        [block * eye if isinstance(block, int | float) else np.broadcast_to(block, shape) for block in row]
        for row in rows
    ]
    return np.concatenate([np.concatenate(row, axis=-1) for row in wide], axis=-2)


def tracking_recursion(W: np.ndarray, before: np.ndarray) -> Recursion:
    """Return X+ = W (X - a Y), Y+ = W (Y + G+ - G) as a recursion of X and R = a (Y - V G), V the W before.

    X+ = W X - W R - a W V G,  R+ = W R - a (W - W V) G.
    """
    twice, eye = W @ before, np.broadcast_to(np.eye(W.shape[-1]), W.shape)
    return Recursion(
        block_matrix([[W, -W], [0.0, W]]),
        np.concatenate([twice, W - twice], axis=-2),
        np.concatenate([eye, 0 * eye], axis=-1),
    )


def push_tracking_recursion(
    W: np.ndarray, weights: np.ndarray | float = 1.0, factors: np.ndarray | float = 1.0
) -> Recursion:
    """Return U+ = W (U - a D Y), Y+ = W Y + G+ - G, G at x_i = u_i/w_i, as a recursion of U and R = a (Y - G).

    U+ = W U - W D R - a W D G,  R+ = W R - a (I - W) G.

    Parameters
    ----------
    W: (modes, n, n). weights, factors: w_i and the diagonal of D, (n,); a number is that of all nodes.
    """
    eye = np.broadcast_to(np.eye(W.shape[-1]), W.shape)
    stepped = W * factors
    return Recursion(
        block_matrix([[W, -stepped], [0.0, W]]),
        np.concatenate([stepped, eye - W], axis=-2),
        np.concatenate([eye / weights, 0 * eye], axis=-1),
    )


def push_tracking_recursions(topology: Topology, damped: bool) -> list[Recursion] | None:
    """Return ``push_tracking_recursion`` for all matrices in turn, with the w_i that w+ = W w, 1^T w = n, leads to.

    Doubly stochastic matrices are those of ``stability_spectrum``. None for others of more than MATRIX_LIMIT rows.
    damped: True for D = diag(min(1, w_i)), False for D = I.
    """
    if topology.doubly_stochastic:
        matrices = stability_spectrum(topology)
        return None if matrices is None else [push_tracking_recursion(matrix.astype(complex)) for matrix in matrices]
    if topology.nodes * len(topology.cycle) > MATRIX_LIMIT:
        return None
    cycle = [mixing.dense() for mixing in topology.cycle]
    eye = np.eye(topology.nodes)
    weights = np.linalg.solve(eye - _product(cycle) + 1 / topology.nodes, np.ones(topology.nodes))
    recursions = []
    for W in cycle:
        factors = np.minimum(weights, 1.0) if damped else 1.0
        recursions.append(push_tracking_recursion(W[None].astype(complex), weights, factors))
        weights = W @ weights
    return recursions


def stability_spectrum(topology: Topology) -> list[np.ndarray] | None:
    """Return what stands for the mixing matrices in turn: (modes, n, n) arrays, n = 1 where they split by eigenvalues.

    Of one symmetric W the interval from its smallest eigenvalue to 1. None where there is no doubly stochastic W, or
    the matrices are large and do not commute.
    """
    if not topology.doubly_stochastic:
        return None
    if not topology.varies and topology.symmetric:
        return [np.linspace(topology.smallest_eigenvalue, 1.0, EIGENVALUES).reshape(-1, 1, 1)]
    firsts = [_circulant(mixing) for mixing in topology.cycle]
    if all(first is not None for first in firsts):
        return [_some(np.fft.fft(first)).reshape(-1, 1, 1) for first in firsts]
    if topology.normal and topology.nodes <= DENSE_LIMIT:
        return [np.linalg.eigvals(topology.cycle[0].dense()).reshape(-1, 1, 1)]
    if topology.nodes * len(topology.cycle) <= MATRIX_LIMIT:
        return [mixing.dense()[None] for mixing in topology.cycle]
    return None


def _circulant(mixing: Mixing) -> np.ndarray | None:
    """Return the first column of W if every other is the one before moved down by one row; else None."""
    nodes, shift = mixing.nodes, (mixing.rows() - mixing.columns) % mixing.nodes
    first = np.zeros(nodes)
    first[shift[mixing.columns == 0]] = mixing.weights[mixing.columns == 0]
    if len(shift) != nodes * np.count_nonzero(first) or not np.array_equal(mixing.weights, first[shift]):
        return None
    return first


def _some(eigenvalues: np.ndarray) -> np.ndarray:
    """Return at most about MATRIX_LIMIT eigenvalues: the first half, which turns least, and a sample of the rest."""
    half = MATRIX_LIMIT // 2
    if len(eigenvalues) <= MATRIX_LIMIT:
        return eigenvalues
    return np.concatenate([eigenvalues[:half], eigenvalues[half :: len(eigenvalues) // half]])


def stability_spectrum_of_gossip(
    topology: Topology, rounds: int, chebyshev: bool, step: float = 1.0
) -> list[np.ndarray] | None:
    """Return ``stability_spectrum`` of P_K, iteration after iteration: each takes K matrices of the cycle.

    Parameters
    ----------
    rounds: K. chebyshev: True for the Chebyshev polynomial of one symmetric W, False for products of K matrices.
    step: gamma of coded gossip, which uses (1 - gamma) I + gamma W for W; 1 if messages are not coded.
    """
    if chebyshev:
        interval = topology.interval if step == 1 else damped_interval(topology.interval, step)
        return [np.append(np.linspace(*polynomial_extremes(rounds, interval), EIGENVALUES), 1.0).reshape(-1, 1, 1)]
    matrices = stability_spectrum(topology)
    if matrices is None:
        return None
    matrices = [(1 - step) * np.eye(matrix.shape[-1]) + step * matrix for matrix in matrices]
    count = len(matrices) // gcd(len(matrices), rounds)
    return [_product([matrices[(i * rounds + k) % len(matrices)] for k in range(rounds)]) for i in range(count)]


def _product(factors: list[np.ndarray]) -> np.ndarray:
    """Return the product of matrices, the first applied first."""
    if all(factor is factors[0] for factor in factors):
        return np.linalg.matrix_power(factors[0], len(factors))
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    return product


def largest_stable_proximal_step(matrices: list[np.ndarray] | None) -> float:
    """Return r such that Y+ = P (Y + G - G-), X+ = P prox_{a h}(X - a Y+) converges for a L < r, any convex f_i and h.

    The circle criterion for the gradients and the prox together, which is firmly nonexpansive, with the weights that
    proximal gradient descent needs (ours): for each eigenvalue p of P, all over the unit circle,
    a L |p z~ - q~|^2 <= 4 (1 - Re p z~), q = p (z - 1)/(z - p), ~ the conjugate. 0 where P does not split.
    """
    if matrices is None or len(matrices) > 1 or matrices[0].shape[-1] > 1:
        return 0.0
    p = matrices[0].reshape(-1, 1).astype(complex)
    z = np.exp(1j * np.stack(_angles(matrices[0])).T)
    q = p * (z - 1) / (z - p)
    square = np.abs(p * z.conj() - q.conj()) ** 2
    bound = 4 * (1 - (p * z.conj()).real) / np.maximum(square, 1e-300)
    return round_significant(min(float(bound.min()), DESCENT), 6)


def largest_stable_linear_step(
    matrices: list[np.ndarray] | None, recursion: Callable[[np.ndarray, np.ndarray], Recursion]
) -> float | None:
    """Return r: the method converges for a L < r, at most that of gradient descent, 2; rounded to 6 digits.

    Parameters
    ----------
    matrices: of ``stability_spectrum`` or ``stability_spectrum_of_gossip``; None where nothing is known: r is None.
    recursion: makes A, B, C of the matrices (modes, n, n) of one iteration and of the one before it, such as
        ``tracking_recursion``.
    """
    if matrices is None:
        return None
    complexes = [matrix.astype(complex) for matrix in matrices]
    return largest_stable_step_of([recursion(matrix, complexes[k - 1]) for k, matrix in enumerate(complexes)])


def largest_stable_step_of(recursions: list[Recursion]) -> float:
    """Return r as ``largest_stable_linear_step`` does, for recursions in turn."""
    lifted = _cycle(recursions)
    lowest = min(_lowest(*lifted, angle) for angle in _angles(lifted[0]))
    return DESCENT if lowest * DESCENT >= -1 - 1e-9 else round_significant(-1 / lowest, 6)


def _cycle(steps: list[Recursion]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return A, B, C and D of all steps in turn as one, their gradients and points side by side."""
    A = np.broadcast_to(np.eye(steps[0].A.shape[-1]), steps[0].A.shape)
    B: list[np.ndarray] = []
    C: list[np.ndarray] = []
    D: list[list[np.ndarray]] = []
    for k, step in enumerate(steps):
        C.append(step.C @ A)
        D.append([step.C @ before for before in B] + [np.zeros_like(step.C @ step.B)] * (len(steps) - k))
        A = step.A @ A
        B = [step.A @ before for before in B] + [step.B]
    return (
        A,
        np.concatenate(B, axis=-1),
        np.concatenate(C, axis=-2),
        np.concatenate([np.concatenate(row, axis=-1) for row in D], axis=-2),
    )


def _angles(A: np.ndarray) -> list[np.ndarray]:
    """Return angles of z, each (modes,): the upper half circle, and for each mode where A is close to singular."""
    everywhere = [np.full(len(A), angle) for angle in np.linspace(np.pi, 0, POINTS, endpoint=False)]
    eigenvalues = np.linalg.eigvals(A)
    sizes = np.abs(eigenvalues)
    order = np.argsort(np.where(sizes < 1 - CLOSEST, -sizes, 1.0), axis=1)[:, :RESONANCES]
    near = np.take_along_axis(eigenvalues, order, axis=1)
    near[np.abs(near) > 1 - CLOSEST] = 0.0  # those of equal rows
    gap = 1 - np.abs(near)
    return everywhere + [np.angle(near[:, j]) + far * gap[:, j] for j in range(near.shape[1]) for far in NEARBY]


def _lowest(A: np.ndarray, B: np.ndarray, C: np.ndarray, D: np.ndarray, angle: np.ndarray) -> float:
    """Return the smallest eigenvalue of (G + G^H)/2 at z = exp(i angle), over all modes."""
    z = np.exp(1j * angle)[:, None, None]
    G = D + C @ np.linalg.solve(z * np.eye(A.shape[-1]) - A, B)
    return float(np.linalg.eigvalsh((G + G.conj().swapaxes(-1, -2)) / 2).min())
