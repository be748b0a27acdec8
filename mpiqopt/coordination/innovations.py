"""Averages of vectors that change little from call to call: what travels is what is new since the last."""

from math import frexp, ldexp
from typing import NamedTuple

import numpy as np

from mpiqopt.placement.shared_rows import shared_rows


class Innovations(NamedTuple):
    """What nodes have given so far of vectors v_i whose average is wanted, call after call:

        q_i = round((v_i - hat_i)/Delta),    hat_i += Delta (q_i - R_i),    C += Delta m,

    where a coordinator finds m near the mean of the q_i, the same at all nodes, and R_i is what node i still has of its
    q_i then, so that sum_i (q_i - R_i) = n m. So the mean of all hat_i is C, always: nothing is lost, and what a call
    leaves over is part of v_i - hat_i at the next. With Delta a power of two no number is ever rounded. Source: ours.

    Attributes
    ----------
    step : Delta of the next call is the power of two below
    effort : steps of the last call, from which the next one begins (lock-step)
    hat : float64 (hosted, d)
    mean : float64 (hosted, d), C, shared rows
    age : mean over all nodes of how many calls ago what C has of them was new; 0 where all wait for each other
    """

    step: float
    effort: int
    hat: np.ndarray
    mean: np.ndarray
    age: float = 0.0

    @property
    def delta(self) -> float:
        """Delta of the next call, a power of two."""
        return power_of_two_below(self.step)


def no_innovations(step: float, hosted: int, point: np.ndarray) -> Innovations:
    """Return the innovations of nodes that all know a vector, float64 (d,), near what each of them has.

    Their hat_i and C are that vector, rounded to multiples of Delta.
    """
    delta = power_of_two_below(step)
    near = delta * np.rint(point / delta)
    return Innovations(step, 0, np.repeat(near[None], hosted, axis=0), shared_rows(near, hosted))


def power_of_two_below(value: float) -> float:
    """Return the largest power of two that is at most a positive number.

    >>> power_of_two_below(0.01), power_of_two_below(0.25)
    (0.0078125, 0.25)
    """
    return ldexp(1.0, frexp(value)[1] - 1)


def power_of_two_above(value: float) -> float:
    """Return the smallest power of two that is at least a positive number."""
    below = power_of_two_below(value)
    return below if below == value else 2 * below
