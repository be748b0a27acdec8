"""coordinated-prox-gradient, on averages of innovations of which node 0 keeps what remains (tree, allreduce)."""

from itertools import count
from math import log2

import numpy as np


def power_below(value: float) -> float:
    """2^k with 2^k <= value < 2^(k + 1)."""
    return 2.0 ** np.floor(log2(value))


class Averages:
    """q_i = round((v_i - hat_i)/Delta), m = round(S/n); hat_i += Delta q_i, hat_0 -= Delta (S - n m), C += Delta m.

    Halves are rounded up in m. ``step``: Delta of the next call.
    """

    def __init__(self, nodes: int, d: int, quantization_step, zoom, min_quantization_step, **others):
        self.hat, self.mean, self.step = np.zeros((nodes, d)), np.zeros(d), power_below(quantization_step)
        self._whole, self._first, self._zoom = quantization_step, self.step, zoom
        least = power_below(min_quantization_step)
        self._least = least if least == min_quantization_step else 2 * least

    def average(self, V: np.ndarray) -> np.ndarray:
        """C, float64 (d,), after a call in which node i has V_i."""
        q = np.rint((V - self.hat) / self.step)
        total, n = q.sum(axis=0), len(V)
        m = np.floor((2 * total + n) / (2 * n))
        self.hat += self.step * q
        self.hat[0] -= self.step * (total - n * m)
        self.mean = self.mean + self.step * m
        return self.mean

    def refine(self, change: float, share: float) -> None:
        """Delta of the next call: below a share of the largest change, by a factor of 2 at most, or by the zoom."""
        if self._zoom == "auto":
            wanted = power_below(share * change) if change else 0
            self.step = max(min(max(wanted, self.step / 2), 2 * self.step, self._first), self._least)
        else:
            self._whole = max(self._whole * self._zoom, self._least)
            self.step = power_below(self._whole)


def momentum(x: np.ndarray, last: np.ndarray, y: np.ndarray, t: float, root: float) -> tuple[float, float]:
    """beta and t_{k+1} from t_k; x, last: x+ and x; y: where the gradients were; root: sqrt(a mu)."""
    if np.add.reduce((y.astype(np.float64) - x) * (x.astype(np.float64) - last)) > 0:
        return 0.0, 1.0
    further = (1 + np.sqrt(1 + 4 * t * t)) / 2
    return float(min((t - 1) / further, (1 - root) / (1 + root))), further


def estimated(f, estimator, t, Y, old, v, batch_size, large_batch_size, epoch_length):
    """v_t of the estimators."""
    if estimator == "gradient":
        return f.grad(Y)
    if estimator == "sa":
        return f.grad(Y, t, batch_size)
    if t % epoch_length == 0:
        return f.grad(Y, t, large_batch_size if estimator == "sr-o" else "all")
    return v + (f.grad(Y, t, batch_size) - f.grad(old, t, batch_size))


def coordinated_prox_gradient_variables(
    X, f, a, accelerated, strong_convexity, estimator, batch_size, large_batch_size, epoch_length, **settings
):
    """X and Delta of the next average after each round."""
    averages, x, Y, t_k, v = Averages(*X.shape, **settings), X[0], X, 1.0, np.zeros_like(X)
    root, old = np.sqrt(a * strong_convexity) if accelerated else 0.0, X
    for t in count():
        v = estimated(f, estimator, t, Y, old, v, batch_size, large_batch_size, epoch_length).astype(X.dtype)
        ways = a * v.astype(np.float64) if estimator.startswith("sr") else Y.astype(np.float64) - (Y - a * v)
        V = np.where(f.trains(t, **settings)[:, None], ways, averages.hat)
        last, old = x, Y
        x = f.prox((Y[:1] - averages.average(V)).astype(X.dtype), a)[0]
        beta, share = 0.0, 0.4
        if accelerated:
            beta, t_k = momentum(x, last, Y[0], t_k, root)
            share = 0.4 * (0.75 * (1 - beta))
        averages.refine(np.abs(x.astype(np.float64) - last).max(), share)
        Y = np.tile(x + beta * (x - last), (len(X), 1)).astype(X.dtype)
        yield np.tile(x, (len(X), 1)), averages.step


def coordinated_prox_gradient(X, W, f, a, **settings):
    """W is not used."""
    for rows, _ in coordinated_prox_gradient_variables(X, f, a, **settings):
        yield rows
