"""FTQC-DGD and FTQC-ADMM, on exact averages of rounded numbers and on innovations."""

import math
from itertools import count

import numpy as np


def exact_average(rows: np.ndarray, step: float, rounding: str) -> np.ndarray:
    """What FTQC gives every node: step floor(mean of floor(x_i/step)), by integers; float64 (d,).

    nearest: step times the middle of floor and ceil of the mean of round(x_i/step).
    """
    whole = {"floor": np.floor, "nearest": np.rint}[rounding](rows.astype(np.float64) / step)
    total, n = whole.astype(np.int64).sum(axis=0), len(rows)
    low, high = total // n, -(-total // n)
    return step * (low if rounding == "floor" else (low + high) / 2)


class Grid:
    """The averages of the rounds, one call each, and the zooming between them. ``step``: Delta of the next one."""

    def __init__(self, start: np.ndarray, quantization_step, zoom, min_quantization_step, rounding, **others):
        self.last, self.step = start[0], quantization_step
        self._first, self._zoom, self._least, self._rounding = quantization_step, zoom, min_quantization_step, rounding

    def average(self, rows: np.ndarray, joined: np.ndarray) -> np.ndarray:
        """joined: which nodes have something new, bool (n,). The average as (n, d), in the rows' precision."""
        average = exact_average(rows, self.step, self._rounding).astype(rows.dtype)
        share = np.count_nonzero(joined) / len(rows)
        if self._zoom == "auto":
            wanted = 0.1 * np.abs(average.astype(np.float64) - self.last).max()
            self.step = min(max(wanted, self.step * 0.5**share), self.step * 2.0**share, self._first)
        else:
            self.step *= self._zoom**share
        self.step, self.last = max(self.step, self._least), average
        return np.tile(average, (len(rows), 1))


def octave(value: float) -> float:
    """The largest power of two that is not above a positive number."""
    return 2.0 ** math.floor(math.log2(value))


class Known:
    """What nodes have given: with q_i = round((v_i - hat_i)/Delta), S their sum, m = round(S/n) and Delta = 2^k,

        hat_i += Delta q_i, but at node 0, where what remains is not given: Delta (q_0 - (S - n m)),    C += Delta m.

    near: float (d,), what hat_i and C are at the start, on the grid; followed: Delta is that share of the last change,
    with zoom "auto". ``step``: Delta of the next round is the power of two below it.
    """

    def __init__(self, near, nodes, followed, quantization_step, zoom, min_quantization_step, **others):
        first = octave(quantization_step)
        self.common = first * np.rint(near.astype(np.float64) / first)
        self.hat = np.tile(self.common, (nodes, 1))
        self.step = quantization_step
        self._first, self._zoom, self._followed = first, zoom, followed
        self._least = min(first, 1 / octave(1 / min_quantization_step))

    def average(self, V: np.ndarray) -> np.ndarray:
        """C after a round with these v_i, float64 (n, d); (d,)."""
        delta, n = octave(self.step), len(V)
        q = np.rint((V - self.hat) / delta).astype(np.int64)
        m = np.floor_divide(2 * q.sum(axis=0) + n, 2 * n)
        q[0] -= q.sum(axis=0) - n * m
        self.hat, self.common = self.hat + delta * q, self.common + delta * m
        return self.common

    def refine(self, now: np.ndarray, before: np.ndarray, share: float = 1.0) -> None:
        """Delta of the next round, from what it is to be finer than a share of the change of: (d,), as in the run."""
        if self._zoom == "auto":
            distance = np.nextafter(np.abs(now).max(), now.dtype.type(np.inf)) - np.abs(now).max()
            change = max(np.abs(now.astype(np.float64) - before).max(), float(distance))
            wanted = octave(max(self._followed * share * change, self._least))
            delta = octave(self.step)
            self.step = min(max(wanted, delta / 2), 2 * delta, self._first)
        else:
            self.step *= self._zoom
        self.step = max(self.step, self._least)


def descended(X, V, t, f, a, rho, local_steps, batch_size, **others):
    """w from X by N_e steps w -= a (g(w) + (w - v)/rho), rho = inf: w -= a g(w); batches are numbered t N_e + e."""
    for e in range(local_steps):
        direction = f.grad(X, t * local_steps + e, batch_size or "all").astype(X.dtype)
        X = X - a * (direction if rho == np.inf else direction + (X - V) / rho)
    return X


def ftqc_dgd_variables(X, f, a, code, **settings):
    """X and Delta of the next average after each round."""
    return (paper_dgd if code == "points" else innovated_dgd)(X, f, a, **settings)


def paper_dgd(X, f, a, **settings):
    """x+ = the average of x - a g_i(x), or x of nodes that do not train, on the grid."""
    grid = Grid(X, **settings)
    for t in count():
        joined = f.trains(t, **settings)
        U = np.where(joined[:, None], descended(X, X, t, f, a, np.inf, **settings), X)
        X = grid.average(U, joined)
        yield X, grid.step


def innovated_dgd(X, f, a, **settings):
    """x+ = x - C, C the average of the ways x - w that nodes went when they trained last."""
    known = Known(np.zeros(X.shape[1]), len(X), 0.4, **settings)
    for t in count():
        joined = f.trains(t, **settings)[:, None]
        way = X.astype(np.float64) - descended(X, X, t, f, a, np.inf, **settings)
        common = known.average(np.where(joined, way, known.hat))
        before, X = X[0], np.tile((X[0] - common).astype(X.dtype), (len(X), 1))
        known.refine(X[0], before)
        yield X, known.step


class Settled(Known):
    """Averages of z_i, as ``Grid`` gives those of the paper."""

    def __init__(self, start: np.ndarray, **settings):
        super().__init__(start[0], len(start), 0.1, **settings)
        self._last = start[0]

    def average(self, rows: np.ndarray, joined: np.ndarray) -> np.ndarray:
        before, self._last = self._last, super().average(rows).astype(rows.dtype)
        self.refine(self._last, before)
        return np.tile(self._last, (len(rows), 1))


def ftqc_admm_variables(X, f, a, penalty, relaxation, code, **settings):
    """y, x_i, z_i and Delta of the next average after each round, from y = prox(z), x_i = z_i = the start."""
    grid, Z = (Grid if code == "points" else Settled)(X, **settings), X
    Y = f.prox(Z, penalty)
    for t in count():
        joined = f.trains(t, **settings)
        active = joined[:, None]
        X = np.where(active, descended(X, 2 * Y - Z, t, f, a, penalty, **settings), X)
        Z = np.where(active, Z + 2 * relaxation * (X - Y), Z)
        Y = f.prox(grid.average(Z, joined), penalty)
        yield Y, X, Z, grid.step


def ftqc_dgd(X, W, f, a, **settings):
    """W is not used: the average is exact on any strongly connected graph."""
    for rows, _ in ftqc_dgd_variables(X, f, a, **settings):
        yield rows


def ftqc_admm(X, W, f, a, **settings):
    for Y, *_ in ftqc_admm_variables(X, f, a, **settings):
        yield Y
