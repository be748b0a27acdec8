"""Eigenvalues of symmetric matrices that are the same on every machine, where LAPACK's differ in the last bits.

Largest ones of several matrices at once by Lanczos (1950), by operations in a fixed order, without
reorthogonalisation: extreme eigenvalues come out right all the same (Paige 1971). And those of eigenvectors that LAPACK
or ARPACK has found, by Rayleigh quotients.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

Apply = Callable[[np.ndarray], np.ndarray]

# Lanczos steps before the first look at what was found; each later look is after half as many more.
FIRST_LOOK = 4
# a change between two looks that ends the search, relative to the matrix: the error left is about its 3/2th power
CHANGE = 1e-9
# what counts as nothing: the steps have seen all of the matrix
NOTHING = 1e-13
# bisection ends at neighbouring multiples of this times the power of two above the matrix
HALVINGS = 44
GRID = 2.0**-HALVINGS
# points that bisection tries at once, over all matrices
TRIES = 1024


def rayleigh_quotient(rows: np.ndarray, columns: np.ndarray, entries: np.ndarray, x: np.ndarray) -> float:
    """Return x^T A x / x^T x, rounded once, of a symmetric matrix A given by its entries.

    Near an eigenvector the quotient is off by the square of the vector's error only: the last bits of x, in which
    machines differ, do not reach it. Products and sums are computed with what rounding takes from them.

    Parameters
    ----------
    rows, columns, entries:
        i, j and a_ij of each entry, both triangles; (E,) each
    x:
        float64 (n,), not zero, of any length

    Examples
    --------
    >>> rows, columns = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    >>> rayleigh_quotient(rows, columns, np.array([2.0, 1.0, 1.0, 2.0]), np.array([1.0, 1.0 + 1e-9]))
    3.0
    """
    product, rest = _product(x[rows], x[columns])
    terms, rests = _product(entries, product)
    above, more = _sum(terms, rests + entries * rest)
    below, less = _sum(*_product(x, x))
    quotient = above / below
    back, rounded = _product(quotient, below)
    return quotient + ((above - back) - rounded + more - quotient * less) / below


def _sum(terms: np.ndarray, small: np.ndarray) -> tuple[float, float]:
    """Return the sum of terms and of much smaller ones, rounded once, and what rounding takes from it."""
    numbers = [*terms.tolist(), float(np.add.reduce(small))]
    total = math.fsum(numbers)
    return total, math.fsum([*numbers, -total])


def _product(a: Any, b: Any) -> tuple[Any, Any]:
    """Return a b and what rounding takes from it (Dekker, "A floating-point technique", 1971)."""
    product = a * b
    (high, low), (top, bottom) = _halves(a), _halves(b)
    return product, ((high * top - product) + high * bottom + low * top) + low * bottom


def _halves(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the upper 26 bits of each number, and the others: products of halves are exact."""
    moved = (2.0**27 + 1) * a
    high = moved - (moved - a)
    return high, a - high


def largest_eigenvalues(apply: Apply, start: np.ndarray, most: int) -> np.ndarray:
    """Return the largest eigenvalue of each of n symmetric matrices A_i (d, d), by Lanczos, all at once.

    Parameters
    ----------
    apply:
        function from rows v (n, d) to the rows A_i v_i (n, d)
    start:
        float64 (n, d), rows that have a part along every eigenvector
    most:
        steps at most, after which an eigenvalue may be too small

    Returns
    -------
    numpy.ndarray
        float64 (n,); what a row gives does not depend on the other rows, so ranks may share the work

    References
    ----------
    Lanczos, "An iteration method for the solution of the eigenvalue problem", 1950; Paige, "The computation of
    eigenvalues and eigenvectors of very large sparse matrices", 1971, for extreme eigenvalues in spite of rounding.

    Examples
    --------
    >>> diagonals = np.array([[1.0, 2.0, 3.0], [5.0, 0.0, -9.0]])
    >>> found = largest_eigenvalues(lambda v: diagonals * v, np.ones((2, 3)), most=10)
    >>> found.round(9).tolist()
    [3.0, 5.0]
    """
    steps, look = _steps(apply, start), FIRST_LOOK
    taken: list[tuple[np.ndarray, np.ndarray]] = []
    found, done = np.full(len(start), np.nan), np.zeros(len(start), bool)
    while not done.all():
        taken += islice(steps, min(look, most) - len(taken))
        diagonal, off = np.array(taken).swapaxes(0, 1)
        size = _size(diagonal, off)
        now = _top(diagonal, off * off, size)
        end = (np.abs(now - found) <= CHANGE * size) | (off[-1] == 0) | (look >= most)
        found = np.where(done, found, now)
        done, look = done | end, look + look // 2
    return found


def _steps(apply: Apply, start: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the next diagonal entry of each tridiagonal matrix T_i, and the off-diagonal one behind it; (n,) each.

    Zero off the diagonal says that nothing follows. The first diagonal entry, which is no larger than the largest
    eigenvalue, then stands in.
    """
    v, before = _over(start, _norms(start)), np.zeros_like(start)
    off, size = np.zeros(len(start)), np.zeros(len(start))
    first: np.ndarray | None = None
    while True:
        w = apply(v) - off[:, None] * before
        diagonal: np.ndarray = np.add.reduce(v * w, axis=1)
        w -= diagonal[:, None] * v
        first = diagonal if first is None else first
        diagonal = np.where(v.any(axis=1), diagonal, first)
        off = _norms(w)
        size = np.maximum(size, np.abs(diagonal) + off)
        off = np.where(off > NOTHING * size, off, 0.0)
        yield diagonal, off
        v, before = _over(w, off), v


def _norms(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.add.reduce(rows * rows, axis=1))


def _over(rows: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Return the rows divided by their norms; zeros for a norm of 0."""
    return np.divide(rows, norms[:, None], out=np.zeros_like(rows), where=norms[:, None] > 0)


def _size(diagonal: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Return the power of two above the sums of magnitudes in each row: larger than all eigenvalues (Gershgorin), (n,).

    diagonal, off: entries of the tridiagonal matrices, (steps, n).
    """
    sums = np.abs(diagonal)
    sums[1:] += off[:-1]
    sums[:-1] += off[:-1]
    most = sums.max(axis=0)
    return np.where(most > 0, np.ldexp(1.0, np.frexp(most)[1]), 0.0)


def _top(diagonal: np.ndarray, squares: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the smallest multiple of GRID * size above all eigenvalues, (n,), by bisection at many points at once.

    diagonal: (steps, n); squares: of the off-diagonal entries. The test is monotone also in floating point (Demmel,
    Dhillon and Ren, "On the correctness of some bisection-like parallel eigenvalue algorithms in floating point
    arithmetic", 1995), so that all ways of bisection end there.
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
    """Return where x (tries, n) is above all eigenvalues, bool: all pivots of x I - T are positive."""
    with np.errstate(all="ignore"):
        pivot = least = x - diagonal[0]
        for entry, square in zip(diagonal[1:], squares, strict=False):
            pivot = x - entry - square / pivot
            least = np.minimum(least, pivot)
    return least > 0
