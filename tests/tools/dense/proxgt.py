"""ProxGT-SA, -SR-O and -SR-E with coded or plain gossip rounds."""

from itertools import count

import numpy as np

from tools.dense.messages import Wire
from tools.dense.networks import around_zero, chebyshev, gossip_matrix
from tools.dense.objectives import scheduled


class CodedGossipAlgorithm:
    """K rounds with M = (1 - gamma) I + gamma W for W, coded: M X becomes X + gamma (W - I) X^, X^ += C(X - X^).

    X^ is kept from call to call. Chebyshev: T_{k+1}(t) = 2 t T_k(t) - T_{k-1}(t) at t = (2 M - h - l)/(h - l), divided
    by the same at M = 1, h = -l the largest size of M's eigenvalues but that of equal rows; then c X_0 is added and all
    divided by 1 + c, c as in ``accelerated_gossip``.
    """

    def __init__(self, W, wire: Wire, rounds: int, accelerated: bool, step: float):
        self.W, self.wire, self.rounds, self.step = next(W), wire, rounds, step
        self.hat, self.c = 0.0, 0.0
        self.low, self.high = around_zero((1 - step) * np.eye(wire.nodes) + step * self.W)
        self.accelerated = accelerated and self.high - self.low > 1e-12
        if self.accelerated:
            self.c = max(0, (3 / self.at_one(rounds) - 1) / 4)

    def at_one(self, k: int) -> float:
        """T_k(t(1))."""
        return chebyshev(k, (2 - self.high - self.low) / (self.high - self.low)) if k else 1.0

    def __call__(self, X: np.ndarray) -> np.ndarray:
        first, last, X = X, X, self.first(X)
        for k in range(1, self.rounds):
            last, X = X, self.next(k, last, X)
        return (X + self.c * first) / (1 + self.c)

    def first(self, X: np.ndarray) -> np.ndarray:
        if not self.accelerated:
            return self.once(X)
        return X + 2 / (2 - self.high - self.low) * (self.once(X) - X)

    def once(self, X: np.ndarray) -> np.ndarray:
        self.hat = self.hat + self.wire.damping * self.wire.gossip(X - self.hat)
        return X + self.step * (self.W @ self.hat - self.hat)

    def next(self, k: int, last: np.ndarray, X: np.ndarray) -> np.ndarray:
        if not self.accelerated:
            return self.once(X)
        below, here, above = (self.at_one(j) for j in (k - 1, k, k + 1))
        t = (2 * self.once(X) - (self.high + self.low) * X) / (self.high - self.low)
        return (2 * here * t - below * last) / above


def gossips(W, wire: Wire, rounds: int, accelerated: bool, step: float):
    """The gossip of the trackers and that of the iterates; coded, each has a memory of its own."""
    if wire.coded:
        return [CodedGossipAlgorithm(W, wire, rounds, accelerated, step) for _ in range(2)]
    P = None

    def trackers(X):
        nonlocal P
        P = gossip_matrix(W, rounds, accelerated)
        return P @ X

    return trackers, lambda X: P @ X


def proxgt(X, W, f, a, wire, estimate, gossip_rounds, chebyshev, gossip_step, schedule, decay):
    """estimate(t, X, previous X, previous v) is v_t. Trackers and iterates of an iteration by the same matrices."""
    mix_trackers, mix_iterates = gossips(W, wire, gossip_rounds, chebyshev, gossip_step)
    y = v = np.zeros_like(X)
    old = X
    for t in count():
        last, v = v, estimate(t, X, old, v)
        y = mix_trackers(y + v - last)
        a_t = scheduled(a, t, schedule, decay)
        old, X = X, mix_iterates(f.prox(X - a_t * y, a_t))
        yield X


def proxgt_sa(X, W, f, a, wire, batch_size, **gossip):
    return proxgt(X, W, f, a, wire, lambda t, X, old, v: f.grad(X, t, batch_size), **gossip)


def proxgt_sr_o(X, W, f, a, wire, batch_size, large_batch_size, epoch_length, **gossip):
    def estimate(t, X, old, v):
        if t % epoch_length == 0:
            return f.grad(X, t, large_batch_size)
        return v + f.grad(X, t, batch_size) - f.grad(old, t, batch_size)

    return proxgt(X, W, f, a, wire, estimate, **gossip)


def proxgt_sr_e(X, W, f, a, wire, batch_size, epoch_length, **gossip):
    return proxgt_sr_o(X, W, f, a, wire, batch_size, "all", epoch_length, **gossip)
