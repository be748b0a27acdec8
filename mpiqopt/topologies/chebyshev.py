"""Chebyshev-accelerated gossip: polynomials of W that bring rows closer together than W^K does.

For a symmetric W whose eigenvalues other than that of equal rows lie in [low, high], with
t(w) = (2 w - high - low)/(high - low),  e = 1/T_K(t(1)),

    P_K(W) = (T_K(t(W)) e + c I)/(1 + c),   c = max(0, (3 e - 1)/4).

T_K is the Chebyshev polynomial of degree K: T_0 = 1, T_1(t) = t, T_{k+1}(t) = 2 t T_k(t) - T_{k-1}(t), at most 1 on
[-1, 1] and the fastest growing beyond. So P_K(1) = 1, which keeps equal rows, and all other eigenvalues lie in
[(c - e)/(1 + c), (c + e)/(1 + c)]. c, which is ours, keeps the lower end above -1/3: gradient tracking then bears every
step below 2/L, and with eigenvalues close to -1 none.

References: Scaman et al., "Optimal algorithms for smooth and strongly convex distributed optimization in networks",
ICML 2017, without c.
"""

from functools import lru_cache
from typing import NamedTuple

# gradient tracking bears every step below 2/L with eigenvalues from here to 1
LOWEST = -1 / 3
# of T_K(t(1)): what is left of rows that differ is beyond their digits
LARGE = 1e100


class Gossip(NamedTuple):
    """Give a polynomial of W as steps of gossip: x_{k+1} = keep x_k + move (W - I) x_k + rest x_{k-1}; + start x_0.

    steps: (keep, move, rest) for each multiplication by W, K in all; start: what of x_0 is added to x_K.
    """

    steps: tuple[tuple[float, float, float], ...]
    start: float


Interval = tuple[float, float]


@lru_cache(64)
def chebyshev_polynomial(rounds: int, interval: Interval | None) -> Gossip:
    """Return P_K(W), K multiplications by W; W^K where no interval of eigenvalues is given.

    rounds: K; interval: (low, high), where the eigenvalues of W lie, that of equal rows excepted; high < 1.

    >>> chebyshev_polynomial(2, None)
    Gossip(steps=((1.0, 1.0, 0.0), (1.0, 1.0, 0.0)), start=0.0)
    >>> chebyshev_polynomial(1, (-0.5, 0.5)).steps  # c = 1/8, P_1(W) = (W + I/8)/(9/8)
    ((0.888..., 0.888..., 0.0),)
    """
    if interval is None:
        return Gossip(((1.0, 1.0, 0.0),) * rounds, 0.0)
    low, high = interval
    ratio = (high - low) / (2 - high - low)
    square = ratio * ratio
    move = 2 / (2 - high - low)
    offset = _offset(_amplitude(rounds, low, high))
    w, steps = 1.0, []
    for k in range(rounds):
        scale = w if k < rounds - 1 else w / (1 + offset)
        steps.append((scale, scale * move, (1 - w) * (scale / w)))
        w = 2 / (2 - square) if k == 0 else 1 / (1 - square * w / 4)
    return Gossip(tuple(steps), offset / (1 + offset))


def damped_interval(interval: Interval, step: float) -> Interval:
    """Return an interval around 0 with the eigenvalues of (1 - step) I + step W in it, for coded gossip.

    interval: that of W; step: in (0, 1]. On a tight interval the polynomial would take long steps again and undo the
    damping.
    """
    largest = max(abs(1 - step * (1 - end)) for end in interval)
    return -largest, largest


def polynomial_extremes(rounds: int, interval: Interval) -> Interval:
    """Return the interval in which the eigenvalues of P_K(W) lie, that of equal rows excepted.

    rounds, interval: as in ``chebyshev_polynomial``.

    >>> low, high = polynomial_extremes(2, (-0.5, 0.5))  # T_2(2) = 7: e = 1/7, c = 0
    >>> round(low, 6), round(high, 6)
    (-0.142857, 0.142857)
    """
    amplitude = _amplitude(rounds, *interval)
    offset = _offset(amplitude)
    return (offset - amplitude) / (1 + offset), (offset + amplitude) / (1 + offset)


def _amplitude(rounds: int, low: float, high: float) -> float:
    """Return e = 1/T_K(t(1)), by recursion: the last bits of libm's cosh depend on the processor."""
    if high <= low:
        return 0.0
    at_one = (2 - high - low) / (high - low)
    before, now = 1.0, at_one
    for _ in range(rounds - 1):
        if now > LARGE:
            return 0.0
        before, now = now, 2 * at_one * now - before
    return 1 / now


def _offset(amplitude: float) -> float:
    """Return the least c >= 0 with (c - e)/(1 + c) >= -1/3. amplitude: e."""
    return max(0.0, (amplitude + LOWEST) / (1 - LOWEST))
