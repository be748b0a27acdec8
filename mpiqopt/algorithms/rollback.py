"""The held-out loss by which a server takes its steps back."""

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.network.network import Network
from mpiqopt.network.node_mean import NodeMean
from mpiqopt.problems.problem import Problem


def held_out_loss(problem: Problem, network: Network, x: np.ndarray) -> float:
    """Return the mean loss of the held-out samples at x (d,), the same bits on any number of ranks; collective.

    Infinite if it is no number.
    """
    require_held_out(problem)
    assert problem.held_out is not None
    mean = NodeMean(network.place, network.transport)(problem.held_out.losses(x)[:, None])
    loss = float(mean[0]) * network.place.nodes / problem.held_out.total
    return loss if np.isfinite(loss) else float("inf")


def require_held_out(problem: Problem) -> None:
    """Raise UsageError unless some samples are held out."""
    if problem.held_out is None:
        raise UsageError("algorithm.rollback = true: no samples are held out: want data.test_fraction > 0")
