"""Dense-matrix references in plain NumPy, written from ALGORITHMS.md: nothing here calls the package's arithmetic.

X is n x d with a row per node, W an n x n matrix. Two things come from the package, with tests of their own: the
samples that each node holds, and the sample numbers of its minibatches.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import cycle, repeat
from typing import Any

import networkx
import numpy as np
import tomli_w

from mpiqopt.assembly import Experiment, assemble
from mpiqopt.config import parse
from mpiqopt.streams import Streams
from mpiqopt.transport.serial import SerialTransport

GRAPHS = {
    "ring-8": ({"name": "ring", "nodes": 8}, networkx.cycle_graph(8)),
    "grid-9": ({"name": "grid", "nodes": 9}, networkx.grid_2d_graph(3, 3)),
    "star-5": ({"name": "star", "nodes": 5}, networkx.star_graph(4)),
    "path-2": ({"name": "path", "nodes": 2}, networkx.path_graph(2)),
    "single": ({"name": "ring", "nodes": 1}, networkx.empty_graph(1)),
}


def assembled(topology, problem, algorithm, regularizer=None, data=None, **run) -> Experiment:
    """The package's objects for a config that is given table by table."""
    tables = {"run": run, "data": data, "problem": problem, "topology": topology, "algorithm": algorithm}
    if regularizer is not None:
        tables["regularizer"] = regularizer
    return assemble(parse(tomli_w.dumps(tables), "test.toml"), SerialTransport())


def states(experiment: Experiment) -> Iterator[Any]:
    """The package's states: the initial one, then one after each iteration."""
    arguments = experiment.problem, experiment.network, experiment.streams
    state = experiment.algorithm.init(experiment.start, *arguments)
    while True:
        yield state
        state = experiment.algorithm.step(state, *arguments)


def after(experiment: Experiment, iterations: int) -> Any:
    """The package's state after so many iterations."""
    for _, state in zip(range(iterations + 1), states(experiment), strict=False):
        last = state
    return last


# Networks


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


def gossip_matrix(W: Iterator[np.ndarray], rounds: int, accelerated: bool) -> np.ndarray:
    """P_K: the product of the next K matrices, or T_K(W/lambda)/T_K(1/lambda), whose limit for lambda = 0 is J."""
    P = next(W)
    if accelerated:
        lam = contraction(P)
        return chebyshev(rounds, P / lam) / chebyshev(rounds, 1 / lam) if lam > 1e-12 else P
    for _ in range(rounds - 1):
        P = next(W) @ P
    return P


# Objectives


def least_squares(A, b, x):
    return A.T @ (A @ x - b) / len(b)


def logistic(A, b, x):
    signs = np.where(b == 1, 1, -1)
    return -A.T @ (signs / (1 + np.exp(signs * (A @ x)))) / len(b)


def softmax(A, b, x):
    scores = np.exp(A @ x.reshape(-1, A.shape[1]).T)
    errors = scores / scores.sum(axis=1, keepdims=True) - np.eye(scores.shape[1])[b.astype(int)]
    return (errors.T @ A).ravel() / len(b)


LOSSES = {"least-squares": least_squares, "logistic": logistic, "softmax": softmax}


def soft(x, bound):
    return np.sign(x) * np.maximum(np.abs(x) - bound, 0)


def group_soft(x, bound, size):
    groups = [x[:, k : k + size] for k in range(0, x.shape[1], size)]
    norms = [np.linalg.norm(g, axis=1, keepdims=True) for g in groups]
    return np.hstack([g * np.maximum(1 - bound / np.maximum(s, 1e-300), 0) for g, s in zip(groups, norms, strict=True)])


# prox_{a h}(X) by the name of h; r: the regulariser's settings
PROX = {
    "zero": lambda X, a, r: X,
    "l1": lambda X, a, r: soft(X, a * r.weight),
    "elastic-net": lambda X, a, r: soft(X, a * r.weight * r.l1_ratio) / (1 + a * r.weight * (1 - r.l1_ratio)),
    "group-l1": lambda X, a, r: group_soft(X, a * r.weight, r.group_size),
    "box": lambda X, a, r: np.minimum(np.maximum(X, r.lower), r.upper),
    "nonnegative": lambda X, a, r: np.where(X > 0, X, 0),
}


class Objective:
    """f_1 .. f_n and h of an experiment, in double precision. ``sizes``: samples of each node."""

    def __init__(self, experiment: Experiment):
        shares, self.settings, self.h = experiment.shares, experiment.config.problem, experiment.config.regularizer
        cuts = shares.offsets[1:-1]
        self.A = np.split(shares.features.astype(np.float64), cuts)
        self.b = np.split(shares.targets.astype(np.float64), cuts)
        self.sizes = np.array([len(b) for b in self.b])
        self._streams = Streams(experiment.config.run.seed, 0, self.sizes)

    def grad(self, X: np.ndarray, t: int = 0, size: int | str = "all") -> np.ndarray:
        """Gradients of the f_i at their rows: full, or the mean over the minibatch of iteration t."""
        chosen = [slice(None)] * len(X)
        if size != "all":
            index, counts = self._streams.batch(t, size)
            chosen = [row[:count] for row, count in zip(index, counts, strict=True)]
        loss = LOSSES[self.settings.name]
        G = np.array([loss(A[c], b[c], x) for A, b, c, x in zip(self.A, self.b, chosen, X, strict=True)])
        return G + self.settings.l2 * X + 2 * self.settings.nonconvex * X / (1 + X**2) ** 2

    def prox(self, X: np.ndarray, a: float) -> np.ndarray:
        return PROX[self.h.name](X, a, self.h)

    def mean_grad(self, x: np.ndarray) -> np.ndarray:
        """grad F(x)."""
        return self.grad(np.tile(x, (len(self.A), 1))).mean(axis=0)

    def minimiser(self) -> np.ndarray:
        """x* of F + h by the accelerated proximal gradient method for strongly convex F (Nesterov 2004).

        The result is not trusted but certified: F is l2-strongly convex and u = (x - x+)/a + grad F(x+) - grad F(x)
        is a subgradient of F + h at x+ = prox(x - a grad F(x)): |x+ - x*| <= |u|/l2, which must be under 1e-11.
        """
        smoothness = max(np.linalg.norm(A, 2) ** 2 / len(A) for A in self.A) + self.settings.l2
        a, root = 1 / smoothness, np.sqrt(self.settings.l2 / smoothness)
        x = y = np.zeros(self.A[0].shape[1])
        for _ in range(int(40 / root)):
            last, x = x, self._forward_backward(y, a)
            y = x + (1 - root) / (1 + root) * (x - last)
        last, x = x, self._forward_backward(x, a)
        u = (last - x) / a + self.mean_grad(x) - self.mean_grad(last)
        assert np.linalg.norm(u) / self.settings.l2 < 1e-11
        return x

    def _forward_backward(self, x: np.ndarray, a: float) -> np.ndarray:
        return self.prox((x - a * self.mean_grad(x))[None], a)[0]


# Methods: generators of X_1, X_2, ...  W: iterator over the mixing matrices, f: an Objective, a: the step


def dgd(X, W, f, a):
    while True:
        X = next(W) @ X - a * f.grad(X)
        yield X


def prox_dgd(X, W, f, a):
    while True:
        X = f.prox(next(W) @ X - a * f.grad(X), a)
        yield X


def extra(X, W, f, a):
    W = next(W)
    old, X = X, W @ X - a * f.grad(X)
    yield X
    while True:
        old, X = X, X + W @ X - (old + W @ old) / 2 - a * (f.grad(X) - f.grad(old))
        yield X


def pg_extra(X, W, f, a):
    W = next(W)
    Z = W @ X - a * f.grad(X)
    old, X = X, f.prox(Z, a)
    yield X
    while True:
        Z = Z + W @ X - (old + W @ old) / 2 - a * (f.grad(X) - f.grad(old))
        old, X = X, f.prox(Z, a)
        yield X


def nids(X, W, f, a):
    Wt = (np.eye(len(X)) + next(W)) / 2
    Z = X - a * f.grad(X)
    old, X = X, f.prox(Z, a)
    yield X
    while True:
        Z = Z - X + Wt @ (2 * X - old - a * (f.grad(X) - f.grad(old)))
        old, X = X, f.prox(Z, a)
        yield X


def d2(X, W, f, a):
    Wt = (np.eye(len(X)) + next(W)) / 2
    old, X = X, Wt @ (X - a * f.grad(X))
    yield X
    while True:
        old, X = X, Wt @ (2 * X - old - a * (f.grad(X) - f.grad(old)))
        yield X


def gradient_tracking(X, W, f, a):
    Y = f.grad(X)
    while True:
        old, X = X, next(W) @ (X - a * Y)
        Y = next(W) @ (Y + f.grad(X) - f.grad(old))
        yield X


def centralised(X, W, f, a):
    while True:
        X = np.tile(f.prox(X[:1] - a * f.grad(X).mean(axis=0), a), (len(X), 1))
        yield X


def proxgt(X, W, f, a, estimate, gossip_rounds, chebyshev):
    """estimate(t, X, previous X, previous v) is v_t."""
    y = v = np.zeros_like(X)
    t, old = 0, X
    while True:
        last, v = v, estimate(t, X, old, v)
        y = gossip_matrix(W, gossip_rounds, chebyshev) @ (y + v - last)
        Z = f.prox(X - a * y, a)
        old, X, t = X, gossip_matrix(W, gossip_rounds, chebyshev) @ Z, t + 1
        yield X


def proxgt_sa(X, W, f, a, batch_size, **gossip):
    return proxgt(X, W, f, a, lambda t, X, old, v: f.grad(X, t, batch_size), **gossip)


def proxgt_sr_o(X, W, f, a, batch_size, large_batch_size, epoch_length, **gossip):
    def estimate(t, X, old, v):
        if t % epoch_length == 0:
            return f.grad(X, t, large_batch_size)
        return v + f.grad(X, t, batch_size) - f.grad(old, t, batch_size)

    return proxgt(X, W, f, a, estimate, **gossip)


def proxgt_sr_e(X, W, f, a, batch_size, epoch_length, **gossip):
    return proxgt_sr_o(X, W, f, a, batch_size, "all", epoch_length, **gossip)


METHODS: dict[str, Callable[..., Iterator[np.ndarray]]] = {
    "centralized-prox-gradient": centralised,
    "d2": d2,
    "dgd": dgd,
    "extra": extra,
    "gradient-tracking": gradient_tracking,
    "nids": nids,
    "pg-extra": pg_extra,
    "prox-dgd": prox_dgd,
    "proxgt-sa": proxgt_sa,
    "proxgt-sr-e": proxgt_sr_e,
    "proxgt-sr-o": proxgt_sr_o,
}


def iterates(experiment: Experiment, matrices: list[np.ndarray]) -> Iterator[np.ndarray]:
    """X_1, X_2, ... of the reference for an experiment's method, in double precision, from its start."""
    settings = asdict(experiment.algorithm)
    W = cycle(matrices) if len(matrices) > 1 else repeat(matrices[0])
    start = experiment.start.astype(np.float64)
    reference = METHODS[experiment.algorithm.name]
    return reference(start, W, Objective(experiment), settings.pop("step_size"), **settings)
