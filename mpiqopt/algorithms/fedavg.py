"""Federated averaging."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.federated import FederatedAlgorithm
from mpiqopt.federation.outer import OuterOptimizer
from mpiqopt.field import Field
from mpiqopt.registry import register


@register("algorithm", "fedavg")
@dataclass(frozen=True, kw_only=True)
class FedAvg(FederatedAlgorithm):
    """x+ = x + a_g sum_i p_i (y_i - x)/sum_i p_i, y_i reached by clients of the round from x in epochs of local SGD.

    With full batches, one epoch and all clients it is gradient descent on F. Otherwise clients drift towards their own
    optima, and the limit is not the optimum of F unless f_i are alike or steps fall to 0.
    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017.
    """

    server_step: Annotated[
        float, Field(gt=0, description="a_g: of the mean of what clients have moved; 1: x+ is their mean")
    ] = 1.0

    def outer(self) -> OuterOptimizer:
        return OuterOptimizer("sgd", self.server_step)

    def largest_stable_step(self, facts: Facts) -> float | None:
        """Return 2/(1 + K (a_g - 1)) for K local steps and a_g > 1.

        K steps of gradient descent are an averaged map with constant K/(K - 1 + 2/(a L)), and so is their mean over
        clients (Combettes and Yamada, "Compositions and convex combinations of averaged nonexpansive operators", 2015);
        steps along it converge while a_g is less than its inverse.
        """
        bound = super().largest_stable_step(facts)
        if bound is None or self.server_step <= 1:
            return bound
        steps = replace(self, step_size=1.0).work(0).count_steps(np.array([facts.most_samples]))
        return bound / (1 + int(steps[0]) * (self.server_step - 1))
