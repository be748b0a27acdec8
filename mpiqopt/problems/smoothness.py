"""The largest curvature of each node's data."""

import numpy as np

from mpiqopt.arithmetic.eigenvalues import largest_eigenvalues
from mpiqopt.problems.evaluators import Evaluator
from mpiqopt.streams import standard_normal

# steps of Lanczos at most; a few dozen are usual
MOST_STEPS = 512


def curvatures(squares: Evaluator, nodes: int, d: int) -> np.ndarray:
    """Return lambda_max(A_i^T A_i)/m_i of the rows A_i (m_i, d) of each node, (nodes,).

    Parameters
    ----------
    squares: an evaluator whose gradients are A_i^T A_i x/m_i, such as the compiled least squares with targets 0.
    nodes: hosted nodes that have samples. d: features.

    By Lanczos with our own products: BLAS would give other last bits on other processors.
    """

    def apply(x: np.ndarray) -> np.ndarray:
        """Return A_i^T A_i x_i/m_i for the rows x_i of x."""
        out = np.empty_like(x)
        squares.evaluate(x, out)
        return out

    # a fixed start: the value must not change from call to call
    start = standard_normal(np.random.Generator(np.random.Philox(0)), d)
    return largest_eigenvalues(apply, np.repeat(start[None], nodes, axis=0), MOST_STEPS)
