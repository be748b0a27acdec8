"""Federated averaging."""

from dataclasses import dataclass
from typing import Annotated

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
