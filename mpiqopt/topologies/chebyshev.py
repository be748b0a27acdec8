"""Chebyshev-accelerated gossip: polynomials of W that bring rows closer together than W^K does.

For a symmetric W whose eigenvalues other than that of equal rows lie in [low, high], with
t(w) = (2 w - high - low)/(high - low),  e = 1/T_K(t(1)),

    P_K(W) = (T_K(t(W)) e + c I)/(1 + c),   c = max(0, (3 e - 1)/4).

Its eigenvalues lie in [(c - e)/(1 + c), (c + e)/(1 + c)], but for equal rows, which it keeps. c, which is ours, keeps
the lower end above -1/3: gradient tracking then bears every step below 2/L, and close to -1 none.
"""

from functools import lru_cache
from typing import NamedTuple

# gradient tracking bears every step below 2/L with eigenvalues from here to 1
LOWEST = -1 / 3
# of T_K(t(1)): what is left of rows that differ is beyond their digits
LARGE = 1e100


class Gossip(NamedTuple):
    """x_{k+1} = keep x_k + move (W - I) x_k + rest x_{k-1} for each (keep, move, rest); then + start x_0."""

    steps: tuple[tuple[float, float, float], ...]
    start: float


Interval = tuple[float, float]


@lru_cache(64)
def polynomial(rounds: int, interval: Interval | None) -> Gossip:
    """P_K(W), K multiplications by W; W^K where no interval of eigenvalues is given."""
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


def damped(interval: Interval, step: float) -> Interval:
    """An interval around 0 that holds the eigenvalues of (1 - step) I + step W, from that of W: for coded gossip.

    On a tight one the polynomial would take long steps again, and undo the damping.
    """
    largest = max(abs(1 - step * (1 - end)) for end in interval)
    return -largest, largest


def extremes(rounds: int, interval: Interval) -> Interval:
    """The interval that holds the eigenvalues of P_K(W), that of equal rows excepted."""
    amplitude = _amplitude(rounds, *interval)
    offset = _offset(amplitude)
    return (offset - amplitude) / (1 + offset), (offset + amplitude) / (1 + offset)


def _amplitude(rounds: int, low: float, high: float) -> float:
    """e = 1/T_K(t(1)), by recursion: the last bits of libm's cosh depend on the processor."""
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
    """The least c >= 0 with (c - e)/(1 + c) >= -1/3."""
    return max(0.0, (amplitude + LOWEST) / (1 - LOWEST))
