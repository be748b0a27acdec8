"""Constants of the data, of which automatic values are made: smoothness of nodes, samples and of F, and noise."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mpiqopt.arithmetic.rounding import round_significant
from mpiqopt.network.node_mean import NodeMean
from mpiqopt.placement.shared_rows import is_shared
from mpiqopt.problems.problem import Problem
from mpiqopt.streams import standard_normal
from mpiqopt.transport.transport import Transport

# Steps of gradient descent before the curvature of F is looked at, and of the power iteration that finds it.
DESCENTS, POWERS = 20, 30
# Bound of L and 1/L: what is made of them, such as L^2, stays far from the ends of the range of numbers.
EXTREME = 1e280
# Smallest share of L that is believed as the curvature seen.
LEAST_OBSERVED = 1 / 16


class Constants(NamedTuple):
    """Smoothness constants and noise, None unless something asks for them.

    L_i is the smoothness constant of node i's mean loss f_i, L_ij that of the loss on its sample j.

    Attributes
    ----------
    lipschitz : L, the largest L_i
    mean_lipschitz : (1/n) sum_i L_i, which bounds that of F
    mean_squared : the largest sqrt(mean_j L_ij^2) of a node
    largest : the largest L_ij
    variance : (1/n) sum_i of the variance of a sample's gradient at the start
    observed : the largest curvature of F near its minimum
    slack : ``observed`` over its bound, at most 1
    """

    lipschitz: float | None = None
    mean_lipschitz: float | None = None
    mean_squared: float | None = None
    largest: float | None = None
    variance: float | None = None
    observed: float | None = None
    slack: float | None = None

    @property
    def give_steps(self) -> bool:
        """True if 1/L and the like are numbers: some feature is not 0, and none too large."""
        mean, largest = self.mean_lipschitz, self.largest
        return mean is not None and largest is not None and mean > 1 / EXTREME and largest < EXTREME


def find_constants(
    problem: Problem, start: np.ndarray, mean: NodeMean, transport: Transport, observe: bool
) -> Constants:
    """Return the constants of the data, collective; for losses that bound their curvature.

    Parameters
    ----------
    problem : on the hosted nodes
    start : (hosted, d), where the variance of gradients is estimated
    mean : over all nodes
    transport : of all ranks
    observe : True if ``observed`` and ``slack`` are wanted, which cost some fifty gradients
    """
    own = problem.lipschitz()
    squares, largest = problem.sample_constants()
    lipschitz, squared, largest = transport.maximum(np.array([own.max(), squares.max(), largest.max()])).tolist()
    means = mean(np.stack([own, problem.gradient_variance(start)], axis=1)).tolist()
    # ranks and continuations use the same; fewer digits also hide the last bits of other processors
    found = [round_significant(value, 10) for value in (lipschitz, means[0], squared**0.5, largest, means[1])]
    constants = Constants(*found)
    if not (observe and constants.give_steps):
        return constants
    observed, bound = observe_curvature(problem, start, mean, 1 / found[1])
    return constants._replace(
        observed=round_significant(max(observed, LEAST_OBSERVED * lipschitz), 6),
        slack=round_significant(min(max(observed / bound, LEAST_OBSERVED), 1.0), 6),
    )


def observe_curvature(problem: Problem, start: np.ndarray, mean: NodeMean, step: float) -> tuple[float, float]:
    """Return the largest curvature of F after a few steps of proximal gradient descent, and its bound for all x.

    start: (hosted, d), from whose mean the descent begins; step: its step size, 1/L of F.

    That of losses for classes is far below its bound once samples are told apart, and larger steps do no harm: their
    gradients are bounded. Of least squares it is the bound (ours).
    """

    def gradient(x: np.ndarray) -> np.ndarray:
        return mean(problem.value_and_grad(x[None].astype(problem.dtype))[1].astype(np.float64))

    x = start[0].astype(np.float64) if is_shared(start) else mean(start.astype(np.float64))
    for _ in range(DESCENTS):
        x = problem.prox(x - step * gradient(x), step)
    length = 1e-4 * max(1.0, float(np.add.reduce(x * x)) ** 0.5)

    def change(direction: np.ndarray) -> np.ndarray:
        return (gradient(x + length * direction) - gradient(x - length * direction)) / (2 * length)

    squares = curvature_by_power_iteration(lambda v: mean(problem.squares(v)), problem.features)
    return curvature_by_power_iteration(change, problem.d), problem.bound(squares)


def curvature_by_power_iteration(product: Callable[[np.ndarray], np.ndarray], d: int) -> float:
    """Return the largest eigenvalue of a symmetric operator on (d,), by the power iteration from a fixed start."""
    direction, found = standard_normal(np.random.Generator(np.random.Philox(0)), d), 0.0
    for _ in range(POWERS):
        direction /= max(float(np.add.reduce(direction * direction)) ** 0.5, 1e-300)
        after = product(direction)
        found, direction = float(np.add.reduce(direction * after)), after
    return found
