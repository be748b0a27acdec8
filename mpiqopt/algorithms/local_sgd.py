"""Local SGD."""

from dataclasses import dataclass

from mpiqopt.algorithms.fedavg import FedAvg
from mpiqopt.algorithms.local_training import LocalSteps
from mpiqopt.registry import register


@register("algorithm", "local-sgd")
@dataclass(frozen=True, kw_only=True)
class LocalSGD(FedAvg):
    """Every node takes K steps y_i -= a g_i(y_i) from x, then x+ = mean of the y_i: FedAvg that counts steps.

    K = 1 is minibatch SGD.
    Source: Stich, "Local SGD converges fast and communicates little", ICLR 2019.
    """

    local_steps: LocalSteps = 10
