"""Constants of the data, of which automatic values are made: smoothness of nodes, samples and of F, and noise."""

from typing import NamedTuple

import numpy as np

from mpiqopt.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.rounding import significant
from mpiqopt.streams import standard_normal

# of gradient descent, before the curvature of F is looked at; and of the power iteration that finds it
DESCENTS, POWERS = 20, 30
# of L: a smaller curvature is not believed
LEAST_OBSERVED = 1 / 16


class Constants(NamedTuple):
    """As far as something asks for them, else None. L_i is that of a node's mean loss, L_ij that of a sample.

    lipschitz: L, the largest L_i; mean_lipschitz: (1/n) sum_i L_i, which bounds that of F; mean_squared: the largest
    sqrt(mean_j L_ij^2) of a node; largest: the largest L_ij. variance: (1/n) sum_i of the variance of a sample's
    gradient at the start. observed: the largest curvature of F near its minimum.
    """

    lipschitz: float | None = None
    mean_lipschitz: float | None = None
    mean_squared: float | None = None
    largest: float | None = None
    variance: float | None = None
    observed: float | None = None


def find(problem: Problem, start: np.ndarray, network: Network, observe: bool) -> Constants:
    """Return the constants, ``observed`` only if it is asked for. Collective; for losses that bound their curvature."""
    own = problem.lipschitz()
    squares, largest = problem.sample_constants()
    lipschitz, squared, largest = network.transport.maximum(
        np.array([own.max(), squares.max(), largest.max()])
    ).tolist()
    means = network.uncounted_mean(np.stack([own, problem.gradient_variance(start)], axis=1)).tolist()
    found = lipschitz, means[0], squared**0.5, largest, means[1]
    constants = Constants(*(significant(value, 10) for value in found))
    if not observe:
        return constants
    return constants._replace(observed=observed_curvature(problem, start, network, constants))


def observed_curvature(problem: Problem, start: np.ndarray, network: Network, constants: Constants) -> float:
    """Return the largest curvature of F after a few steps of proximal gradient descent, at least LEAST_OBSERVED L.

    That of losses for classes is far below its bound once samples are told apart, and larger steps do no harm: their
    gradients are bounded. Of least squares it is the bound (ours). To six digits.
    """

    def gradient(x: np.ndarray) -> np.ndarray:
        return network.uncounted_mean(problem.value_and_grad(x[None].astype(problem.dtype))[1].astype(np.float64))

    x, step = network.uncounted_mean(start.astype(np.float64)), 1 / constants.mean_lipschitz
    for _ in range(DESCENTS):
        x = problem.prox(x - step * gradient(x), step)
    direction = standard_normal(np.random.Generator(np.random.Philox(0)), len(x))
    length, curvature = 1e-4 * max(1.0, float(np.add.reduce(x * x)) ** 0.5), 0.0
    for _ in range(POWERS):
        direction /= max(float(np.add.reduce(direction * direction)) ** 0.5, 1e-300)
        change = (gradient(x + length * direction) - gradient(x - length * direction)) / (2 * length)
        curvature, direction = float(np.add.reduce(direction * change)), change
    return significant(max(curvature, LEAST_OBSERVED * constants.lipschitz), 6)
