"""Least squares."""

from dataclasses import dataclass

from mpiqopt.problems.loss import Loss
from mpiqopt.registry import register


@register("problem", "least-squares")
@dataclass(frozen=True, kw_only=True)
class LeastSquares(Loss):
    """(1/2m) |A x - b|^2.

    A are the features of a node (m, d), b its targets; the Hessian is A^T A/m, so that curvature is 1.
    """

    kernel = "squared"
    curvature = 1.0
    convex = True
