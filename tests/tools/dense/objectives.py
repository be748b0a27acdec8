"""Losses, regularisers and their gradients and proximal maps, by samples of each node."""

from itertools import count

import numpy as np

from mpiqopt.run.assembly import Experiment
from mpiqopt.streams import Streams


def least_squares(A, b, x):
    return A.T @ (A @ x - b) / len(b)


def logistic(A, b, x):
    signs = np.where(b == 1, 1, -1)
    return -A.T @ (signs / (1 + np.exp(signs * (A @ x)))) / len(b)


def softmax(A, b, x):
    scores = np.exp(A @ x.reshape(-1, A.shape[1]).T)
    errors = scores / scores.sum(axis=1, keepdims=True) - np.eye(scores.shape[1])[b.astype(int)]
    return (errors.T @ A).ravel() / len(b)


def mean(A, b, x):
    return x - A.mean(axis=0)


LOSSES = {"least-squares": least_squares, "logistic": logistic, "mean": mean, "softmax": softmax}


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
        self.seed, self.emulate = experiment.config.run.seed, experiment.config.emulate
        self.devices = experiment.network.devices
        self._streams = Streams(self.seed, 0, self.sizes)

    def grad(self, X: np.ndarray, t: int = 0, size: int | str = "all") -> np.ndarray:
        """Gradients of the f_i at their rows: full, or the mean over the minibatch of iteration t."""
        chosen = [slice(None)] * len(X)
        if size != "all":
            index, counts = self._streams.batch(t, size)
            chosen = [row[:count] for row, count in zip(index, counts, strict=True)]
        loss = LOSSES[self.settings.name]
        G = np.array([loss(A[c], b[c], x) for A, b, c, x in zip(self.A, self.b, chosen, X, strict=True)])
        return G + self.settings.l2 * X + 2 * self.settings.nonconvex * X / (1 + X**2) ** 2

    def draws(self, i: int, t: int, size: int) -> np.ndarray:
        """The samples of node i that the minibatch of iteration t has."""
        index, counts = self._streams.batch(t, size)
        return index[i, : counts[i]].copy()

    def node_grad(self, i: int, x: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """The gradient of f_i at x (d,), of some samples of node i."""
        smooth = self.settings.l2 * x + 2 * self.settings.nonconvex * x / (1 + x**2) ** 2
        return LOSSES[self.settings.name](self.A[i][chosen], self.b[i][chosen], x) + smooth

    def trains(self, t: int, activation: str, activation_probability: float, **others) -> np.ndarray:
        """Which nodes train in round t, bool (n,)."""
        if activation == "all":
            return np.ones(len(self.A), bool)
        return self._streams.uniform("activation", t) < activation_probability

    def prox(self, X: np.ndarray, a: float) -> np.ndarray:
        return PROX[self.h.name](X, a, self.h)

    def mean_grad(self, x: np.ndarray) -> np.ndarray:
        """grad F(x)."""
        return self.grad(np.tile(x, (len(self.A), 1))).mean(axis=0)

    def minimiser(self, within: float = 1e-11) -> np.ndarray:
        """x* of F + h by the accelerated proximal gradient method for strongly convex F (Nesterov 2004).

        The result is not trusted but certified: F is l2-strongly convex and u = (x - x+)/a + grad F(x+) - grad F(x)
        is a subgradient of F + h at x+ = prox(x - a grad F(x)): |x+ - x*| <= |u|/l2, which must be under ``within``.
        """
        smoothness = max(np.linalg.norm(A, 2) ** 2 / len(A) for A in self.A) + self.settings.l2
        a, root = 1 / smoothness, np.sqrt(self.settings.l2 / smoothness)
        x = y = np.zeros(self.A[0].shape[1])
        for _ in range(int(40 / root)):
            last, x = x, self._forward_backward(y, a)
            y = x + (1 - root) / (1 + root) * (x - last)
        last, x = x, self._forward_backward(x, a)
        u = (last - x) / a + self.mean_grad(x) - self.mean_grad(last)
        assert np.linalg.norm(u) / self.settings.l2 < within
        return x

    def _forward_backward(self, x: np.ndarray, a: float) -> np.ndarray:
        return self.prox((x - a * self.mean_grad(x))[None], a)[0]


def samples_of(f, a, batch_size, schedule, decay):
    """a_t and the gradient with the samples of iteration t, for t = 0, 1, ..."""
    for t in count():
        yield scheduled(a, t, schedule, decay), lambda X, t=t: f.grad(X, t, batch_size)


def scheduled(a: float, t: int, schedule: str, decay: float) -> float:
    """a_t."""
    return a / (1 + decay * t) ** {"constant": 0, "inverse": 1, "inverse-sqrt": 0.5}[schedule]
