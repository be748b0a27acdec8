"""What a method is: hyper-parameters in a frozen dataclass, and two functions of a state."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from mpiqopt.compressors.compressor import Compressor
from mpiqopt.emulation import Emulate
from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import members
from mpiqopt.streams import Streams
from mpiqopt.topologies.spectrum import Topology

Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]
BatchSize = Annotated[
    PositiveInt | Literal["all"],
    Field(
        description="samples per node and iteration, drawn uniformly with replacement; a node with fewer takes each of "
        "its own once; all: every node's full data"
    ),
]


class Facts(NamedTuple):
    """What automatic values are made from.

    lipschitz: largest L_i over the nodes, or None if step sizes are given; samples: mean number of samples of a node.
    Of the compressor on messages of this length: ``omega``, ``damping``, and ``delta`` when damped.
    """

    lipschitz: float | None
    samples: float
    topology: Topology
    omega: float | None = None
    damping: float = 1.0
    delta: float | None = 1.0


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """A method for min_x F(x) + h(x), written for the rows X of the hosted nodes.

    ``step`` is a function of the state but for communication and the problem's counters: all that a run needs to
    go on is in the state, a NamedTuple whose first field is x and whose fields are (hosted, d) arrays, integers that
    are equal at all nodes, or NamedTuples of such. Steps make new arrays and never change those of the state they got.
    """

    proximal: ClassVar[bool] = True  # handles h != 0
    fixed_symmetric: ClassVar[bool] = False  # needs one symmetric W
    beside: ClassVar[int] = 0  # numbers that travel with each vector
    server: ClassVar[bool] = False  # communicates with a server only
    directed: ClassVar[bool] = False  # works on any strongly connected digraph
    default_compressor: ClassVar[str | None] = None  # without a table [compressor]; None: messages are never coded

    step_size: Annotated[
        Positive | Literal["auto"],
        Field(description="step size alpha; auto: a safe multiple of 1/L, L the largest smoothness constant of a node"),
    ] = "auto"

    @property
    def trains(self) -> bool:
        """Whether nodes train one by one, by ``problem.training``."""
        return False

    @property
    def in_background(self) -> bool:
        """Whether nodes train beside the communication."""
        return False

    @property
    def packs(self) -> bool:
        """Whether how many messages there are, and of how many bytes, is found out on the way."""
        return False

    @property
    def bears_loss(self) -> bool:
        """Whether lost messages are noticed and sent again: not where every round waits for every message."""
        return False

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

    def settled(self, state: Any, network: Network) -> Any:
        """The state when nothing is on its way any more: before records and checkpoints of asynchronous methods."""
        return state

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

    def require_links(self, emulate: Emulate) -> None:
        """Raise UsageError if the method cannot live with the links."""
        if emulate.loss and not self.bears_loss:
            raise UsageError(
                f"emulate.loss = {emulate.loss}: {self.name!r} as configured waits for every message, and a lost one "
                "would stop it for ever; want coordination = 'mailboxes' or execution = 'asynchronous' (ftqc-dgd, "
                "ftqc-admm, push-sum)"
            )

    def require_compressor(self, compressor: Compressor, topology: Topology) -> None:
        """Raise UsageError if the method cannot use the compressor on the topology."""
        if self.default_compressor is None and compressor.name != "identity":
            coding = [name for name, cls in members("algorithm").items() if cls.default_compressor]
            raise UsageError(
                f"compressor.name = {compressor.name!r}: algorithm {self.name!r} sends its vectors as they are; coded "
                f"messages are for {', '.join(coding)}"
            )
        if compressor.name != "identity" and topology.varies and not self.server:
            raise UsageError(
                f"compressor.name = {compressor.name!r}: coded gossip needs one mixing matrix, but topology "
                f"{topology.name!r} varies in time"
            )
        if not compressor.approximates and self.default_compressor != compressor.name:
            raise UsageError(f"compressor.name = {compressor.name!r}: gives a direction only; try scaled-sign")


def mixing_margin(topology: Topology) -> float:
    """(1 + lambda_min(W))/2: the smallest eigenvalue of (I + W)/2, which bounds the step of DGD and EXTRA.

    1/4 where W varies or is not symmetric (ours).
    """
    if topology.varies or not topology.symmetric:
        return 0.25
    return (1 + topology.smallest_eigenvalue) / 2


def descend(x: np.ndarray, direction: np.ndarray, step: float, problem: Problem) -> np.ndarray:
    """prox_{a h}(x - a direction) at every node, from rows of x that are equal and one direction (d,)."""
    return np.repeat(problem.prox(x[:1] - step * direction, step), len(x), axis=0)
