"""Eigenvalues of symmetric matrices that are the same on every machine, where LAPACK's differ in the last bits.

Largest ones of several matrices at once by Lanczos (1950), by operations in a fixed order, without
reorthogonalisation: extreme eigenvalues come out right all the same (Paige 1971). And those of eigenvectors that LAPACK
or ARPACK has found, by Rayleigh quotients.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np

Apply = Callable[[np.ndarray], np.ndarray]

# steps before the first look at what was found; each later look is after half as many more
FIRST_LOOK = 4
# a change between two looks that ends the search, relative to the matrix: the error left is about its 3/2th power
SETTLED = 1e-9
# what counts as nothing: the steps have seen all of the matrix
NOTHING = 1e-13
# bisection ends at neighbouring multiples of this times the power of two above the matrix
HALVINGS = 44
GRID = 2.0**-HALVINGS
# points that bisection tries at once, over all matrices
TRIES = 1024


def rayleigh_quotient(rows: np.ndarray, columns: np.ndarray, entries: np.ndarray, x: np.ndarray) -> float:
    """Return x^T A x / x^T x, rounded once, of a matrix given by its entries.

    Near an eigenvector the quotient is off by the square of the vector's error only: the last bits of x, in which
    machines differ, do not reach it.
    """
    product, rest = _product(x[rows], x[columns])
    terms, rests = _product(entries, product)
    above, more = _sum(terms, rests + entries * rest)
    below, less = _sum(*_product(x, x))
    quotient = above / below
    back, rounded = _product(quotient, below)
    return quotient + ((above - back) - rounded + more - quotient * less) / below


def _sum(terms: np.ndarray, small: np.ndarray) -> tuple[float, float]:
    """The sum of terms and of much smaller ones, rounded once, and what rounding takes from it."""
    numbers = [*terms.tolist(), float(np.add.reduce(small))]
    total = math.fsum(numbers)
    return total, math.fsum([*numbers, -total])


def _product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a b and what rounding takes from it (Dekker 1971)."""
    product = a * b
    (high, low), (top, bottom) = _halves(a), _halves(b)
    return product, ((high * top - product) + high * bottom + low * top) + low * bottom


def _halves(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper 26 bits, and the others."""
    moved = (2.0**27 + 1) * a
    high = moved - (moved - a)
    return high, a - high


def largest_eigenvalues(apply: Apply, start: np.ndarray, most: int) -> np.ndarray:
    """Return the largest eigenvalue of each of n matrices A_i, (n,); a row's result does not depend on other rows.

    apply: rows v (n, d) -> A_i v_i; start: (n, d), rows that have a part along every eigenvector; most: steps at most,
    after which the eigenvalue may be too small.
    """
    steps, taken, look = _steps(apply, start), [], FIRST_LOOK
    found, done = np.full(len(start), np.nan), np.zeros(len(start), bool)
    while not done.all():
        taken += islice(steps, min(look, most) - len(taken))
        diagonal, beside = np.array(taken).swapaxes(0, 1)
        size = _size(diagonal, beside)
        now = _top(diagonal, beside * beside, size)
        end = (np.abs(now - found) <= SETTLED * size) | (beside[-1] == 0) | (look >= most)
        found = np.where(done, found, now)
        done, look = done | end, look + look // 2
    return found


def _steps(apply: Apply, start: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The next diagonal entry of each tridiagonal matrix, and the one beside it; (n,).

    Zero beside it says that nothing follows. The first diagonal entry, which is no larger than the largest eigenvalue,
    then stands in.
    """
    v, before = _over(start, _norms(start)), np.zeros_like(start)
    beside, size, first = np.zeros(len(start)), np.zeros(len(start)), None
    while True:
        w = apply(v) - beside[:, None] * before
        diagonal = np.add.reduce(v * w, axis=1)
        w -= diagonal[:, None] * v
        first = diagonal if first is None else first
        diagonal = np.where(v.any(axis=1), diagonal, first)
        beside = _norms(w)
        size = np.maximum(size, np.abs(diagonal) + beside)
        beside = np.where(beside > NOTHING * size, beside, 0.0)
        yield diagonal, beside
        v, before = _over(w, beside), v


def _norms(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.add.reduce(rows * rows, axis=1))


def _over(rows: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """The rows divided by their norms; zeros for a norm of 0."""
    return np.divide(rows, norms[:, None], out=np.zeros_like(rows), where=norms[:, None] > 0)


def _size(diagonal: np.ndarray, beside: np.ndarray) -> np.ndarray:
    """The power of two above the sums of magnitudes in each row (Gershgorin): larger than all eigenvalues, (n,)."""
    sums = np.abs(diagonal)
    sums[1:] += beside[:-1]
    sums[:-1] += beside[:-1]
    most = sums.max(axis=0)
    return np.where(most > 0, np.ldexp(1.0, np.frexp(most)[1]), 0.0)


def _top(diagonal: np.ndarray, squares: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The smallest multiple of GRID * size above all eigenvalues, (n,).

    The test is monotone also in floating point (Demmel, Dhillon, Ren 1995), so that all ways of bisection end there.
    """
    tries = max(1, TRIES // len(size))
    share = np.arange(1, tries + 1)[:, None]
    low, high = np.full(len(size), -(1 << HALVINGS)), np.full(len(size), 1 << HALVINGS)
    while (high - low > 1).any():
        middle = low + (high - low) * share // (tries + 1)
        above = _above(middle * (GRID * size), diagonal, squares)
        low, high = np.where(above, low, middle).max(axis=0), np.where(above, middle, high).min(axis=0)
    return high * (GRID * size)


def _above(x: np.ndarray, diagonal: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """True where x (tries, n) is above all eigenvalues: all pivots of x I - T are positive."""
    with np.errstate(all="ignore"):
        pivot = least = x - diagonal[0]
        for entry, square in zip(diagonal[1:], squares, strict=False):
            pivot = x - entry - square / pivot
            least = np.minimum(least, pivot)
    return least > 0
