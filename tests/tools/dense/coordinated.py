"""FTQC-DGD and FTQC-ADMM, on exact averages of rounded numbers."""

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


def descended(X, V, t, f, a, rho, local_steps, batch_size, **others):
    """w from X by N_e steps w -= a (g(w) + (w - v)/rho), rho = inf: w -= a g(w); batches are numbered t N_e + e."""
    for e in range(local_steps):
        direction = f.grad(X, t * local_steps + e, batch_size or "all").astype(X.dtype)
        X = X - a * (direction if rho == np.inf else direction + (X - V) / rho)
    return X


def ftqc_dgd_variables(X, f, a, **settings):
    """X and Delta of the next average after each round."""
    grid = Grid(X, **settings)
    for t in count():
        joined = f.trains(t, **settings)
        U = np.where(joined[:, None], descended(X, X, t, f, a, np.inf, **settings), X)
        X = grid.average(U, joined)
        yield X, grid.step


def ftqc_admm_variables(X, f, a, penalty, relaxation, **settings):
    """y, x_i, z_i and Delta of the next average after each round, from y = prox(z), x_i = z_i = the start."""
    grid, Z = Grid(X, **settings), X
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
