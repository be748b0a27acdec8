"""FedOpt: an optimiser at the server, whose gradient is what clients have moved."""

from dataclasses import dataclass
from typing import Annotated

from mpiqopt.algorithms.federated import FederatedAlgorithm
from mpiqopt.federation.outer import OuterName, OuterOptimizer
from mpiqopt.field import Field, only, unless
from mpiqopt.registry import register

ADAPTIVE = ("adam", "yogi", "adagrad")
Outer = Annotated[OuterName, Field(description="optimiser of the server")]
OuterStep = Annotated[float, Field(gt=0, description="step size of the server's optimiser")]


@register("algorithm", "fedopt")
@dataclass(frozen=True, kw_only=True)
class FedOpt(FederatedAlgorithm):
    """x+ = outer step from x along the pseudo-gradient  g = sum_i p_i (x - y_i)/sum_i p_i.

    The outer optimiser is SGD, with momentum or Nesterov's, Adam, Yogi or Adagrad (``federation/outer.py`` has the
    formulas); the inner one is the clients'.
    Source: Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan, "Adaptive federated optimization", ICLR
    2021.
    """

    outer_optimizer: Outer = "adam"
    outer_step: OuterStep = 0.1
    outer_momentum: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="of the server's optimiser; beta_1 of the adaptive ones",
            needs=(unless("outer_optimizer", "sgd"),),
        ),
    ] = 0.9
    outer_second_momentum: Annotated[
        float,
        Field(ge=0, lt=1, description="beta_2 of adam and yogi", needs=(only("outer_optimizer", ("adam", "yogi")),)),
    ] = 0.99
    adaptivity: Annotated[
        float,
        Field(
            gt=0,
            description="tau of the adaptive ones: coordinates whose root mean square is below it count as small",
            needs=(only("outer_optimizer", ADAPTIVE),),
        ),
    ] = 1e-3

    def outer(self) -> OuterOptimizer:
        return OuterOptimizer(
            self.outer_optimizer, self.outer_step, self.outer_momentum, self.outer_second_momentum, self.adaptivity
        )
