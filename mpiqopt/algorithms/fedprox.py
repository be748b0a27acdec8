"""Federated averaging with a proximal term."""

from dataclasses import dataclass
from typing import Annotated

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.fedavg import FedAvg
from mpiqopt.field import Field
from mpiqopt.problems.client_training import Work
from mpiqopt.registry import register


@register("algorithm", "fedprox")
@dataclass(frozen=True, kw_only=True)
class FedProx(FedAvg):
    """FedAvg whose clients minimise f_i(y) + (mu/2) |y - x|^2: mu (y - x) is added to each gradient.

    It keeps clients of unlike data near x, and bounds what those do that take more steps than others.
    Source: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated optimization in heterogeneous networks", MLSys 2020.
    """

    mu: Annotated[float, Field(ge=0, description="weight of the proximal term; 0: FedAvg")] = 0.01

    def smoothness(self, facts: Facts) -> float:
        return super().smoothness(facts) + self.mu

    def work(self, t: int) -> Work:
        return super().work(t)._replace(pull=self.mu)
