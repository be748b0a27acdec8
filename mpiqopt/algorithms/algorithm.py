"""What a method is: hyper-parameters in a frozen dataclass, and two functions of a state."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field

from mpiqopt.errors import UsageError
from mpiqopt.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.streams import Streams
from mpiqopt.topologies.spectrum import Topology

Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]


class Facts(NamedTuple):
    """What automatic values are made from.

    lipschitz: largest L_i over the nodes, or None if step sizes are given; samples: mean number of samples of a node.
    """

    lipschitz: float | None
    samples: float
    topology: Topology


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """A method for min_x F(x) + h(x), written for the rows X of the hosted nodes.

    ``step`` is a function of the state but for communication and the problem's counters: all that a run needs to
    go on is in the state, a NamedTuple whose first field is x and whose fields are (hosted, d) arrays, or integers
    that are equal at all nodes. Steps make new arrays and never change those of the state they got.
    """

    proximal: ClassVar[bool] = True  # handles h != 0
    fixed_symmetric: ClassVar[bool] = False  # needs one symmetric W
    server: ClassVar[bool] = False  # communicates by network.mean only

    step_size: Annotated[
        Positive | Literal["auto"],
        Field(description="step size alpha; auto: a safe multiple of 1/L, L the largest smoothness constant of a node"),
    ] = "auto"

    def resolve(self, facts: Facts) -> Self:
        """The method with every automatic value replaced by a number."""
        if self.step_size != "auto":
            return self
        return replace(self, step_size=self.automatic_step(facts))

    @abstractmethod
    def automatic_step(self, facts: Facts) -> float:
        """A step size that converges, from L and the topology."""

    def rounds(self) -> int:
        """Gossip (or server) rounds of one iteration, after ``resolve``."""
        return 1

    @abstractmethod
    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> Any:
        """The state at the start x (hosted, d), equal at all nodes."""

    @abstractmethod
    def step(self, state: Any, problem: Problem, network: Network, rng: Streams) -> Any:
        """One iteration."""

    def require(self, topology: Topology, regularizer: str) -> None:
        """Raise UsageError if the method cannot handle the topology or the regulariser."""
        if regularizer != "zero" and not self.proximal:
            raise UsageError(
                f"algorithm.name = {self.name!r}: has no proximal step, so it cannot handle regularizer.name = "
                f"{regularizer!r}; use regularizer 'zero' or a proximal method (mpiqopt list algorithm)"
            )
        if self.fixed_symmetric and (topology.varies or not topology.symmetric):
            raise UsageError(
                f"algorithm.name = {self.name!r}: needs one symmetric mixing matrix, but topology {topology.name!r} "
                f"{'varies in time' if topology.varies else 'is not symmetric'}"
            )


def mixing_margin(topology: Topology) -> float:
    """(1 + lambda_min(W))/2: the smallest eigenvalue of (I + W)/2, which bounds the step of DGD and EXTRA.

    1/4 where W varies or is not symmetric (ours).
    """
    if topology.varies or not topology.symmetric:
        return 0.25
    return (1 + topology.smallest_eigenvalue) / 2
