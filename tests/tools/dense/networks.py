"""Mixing matrices, their spectra, and several gossip rounds as one matrix."""

from collections.abc import Iterator

import networkx
import numpy as np


def metropolis(graph: networkx.Graph) -> np.ndarray:
    """w_ij = 1/(1 + max(deg_i, deg_j)) on the edges, a diagonal that makes rows sum to 1; nodes sorted by name."""
    number = {node: i for i, node in enumerate(sorted(graph))}
    W = np.zeros((len(graph), len(graph)))
    for a, b in graph.edges:
        W[number[a], number[b]] = W[number[b], number[a]] = 1 / (1 + max(graph.degree[a], graph.degree[b]))
    return W + np.diag(1 - W.sum(axis=1))


def one_peer(nodes: int) -> list[np.ndarray]:
    """One-peer exponential graph: in round k node i averages with node i + 2^k mod n."""
    I = np.eye(nodes)
    return [(I + np.roll(I, 2**k, axis=1)) / 2 for k in range((nodes - 1).bit_length())]


def contraction(W: np.ndarray) -> float:
    """lambda = ||W - J||_2."""
    return np.linalg.norm(W - 1 / len(W), 2)


def chebyshev(degree: int, x):
    """T_degree(x) by its three-term recurrence, for a number or a symmetric matrix."""
    one, times = (np.eye(len(x)), np.matmul) if np.ndim(x) else (1.0, np.multiply)
    before, now = one, x
    for _ in range(degree - 1):
        before, now = now, 2 * times(x, now) - before
    return now


def extremes(W: np.ndarray) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of a symmetric W but that of equal rows."""
    n = len(W)
    if n == 1:
        return 0.0, 0.0
    eigenvalues = np.linalg.eigvalsh(W - 3 / n)  # 1 becomes -2
    return eigenvalues[1], eigenvalues[-1]


def around_zero(W: np.ndarray) -> tuple[float, float]:
    """Minus and plus the largest size of the ``extremes``."""
    largest = np.abs(extremes(W)).max()
    return -largest, largest


def accelerated_gossip(W: np.ndarray, rounds: int, ends=extremes) -> np.ndarray:
    """P_K = (T_K(t(W)) e + c I)/(1 + c) of one symmetric W, by its eigenvalues but that of equal rows.

    t maps [lambda_n, lambda_2] to [-1, 1]; e = 1/T_K(t(1)); c lifts the lower end to -1/3. J if they are all the same.
    """
    low, high = ends(W)
    if high - low < 1e-12:
        return (W - high * np.eye(len(W))) / (1 - high)
    t = (2 * W - (high + low) * np.eye(len(W))) / (high - low)
    e = 1 / chebyshev(rounds, (2 - high - low) / (high - low))
    c = max(0, (3 * e - 1) / 4)
    return (chebyshev(rounds, t) * e + c * np.eye(len(W))) / (1 + c)


def gossip_matrix(W: Iterator[np.ndarray], rounds: int, accelerated: bool) -> np.ndarray:
    """P_K: the product of the next K matrices, or ``accelerated_gossip``."""
    P = next(W)
    if accelerated:
        return accelerated_gossip(P, rounds)
    for _ in range(rounds - 1):
        P = next(W) @ P
    return P
