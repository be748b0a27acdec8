"""The base classes of federated methods: which clients take part in a round, and for how long it waits for them."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from mpiqopt.algorithms.algorithm import Algorithm, PositiveInt
from mpiqopt.emulation.settings import Emulate
from mpiqopt.errors import UsageError
from mpiqopt.federation.client_times import TICKS, require_clock
from mpiqopt.federation.deadline import LateRule
from mpiqopt.field import Field, only, unless
from mpiqopt.topologies.topology import Topology

DEADLINE = unless("deadline", None)
WAITS = only("drops_late", False, "late clients do not take part")


@dataclass(frozen=True, kw_only=True)
class Sampled(Algorithm):
    """A method in whose rounds some clients take part, drawn by ``federation.cohort``."""

    clients_per_round: Annotated[
        PositiveInt | Literal["all"],
        Field(description="clients that take part in a round, drawn uniformly without replacement; all: every client"),
    ] = "all"

    def cohort_size(self, nodes: int) -> int:
        """Return how many of the ``nodes`` clients take part in a round."""
        return nodes if self.clients_per_round == "all" else self.clients_per_round

    def require(self, topology: Topology, regularizer: str) -> None:
        """Raise UsageError as ``Algorithm.require``, or if there are fewer clients than take part in a round."""
        super().require(topology, regularizer)
        if self.cohort_size(topology.nodes) > topology.nodes:
            raise UsageError(
                f"algorithm.clients_per_round = {self.clients_per_round}: want at most topology.nodes = "
                f"{topology.nodes}, or 'all'"
            )


@dataclass(frozen=True, kw_only=True)
class Deadline(Sampled):
    """A method whose rounds end at a deadline, by the rules of ``federation.deadline``."""

    drops_late: ClassVar[bool] = False  # clients that would be late do not even begin

    deadline: Annotated[
        float | None,
        Field(
            ge=1 / TICKS,
            description="emulated seconds after which a round goes on without the clients that are late (wants "
            "emulate.gradient_seconds); none: it waits for all",
        ),
    ] = None
    late: Annotated[
        LateRule,
        Field(
            description="what becomes of late updates: discard: the client gives up; apply: it goes on, is not drawn "
            "meanwhile, and its update is applied in the round in which it arrives",
            needs=(DEADLINE, WAITS),
        ),
    ] = "discard"
    min_clients: Annotated[
        int,
        Field(
            ge=1,
            description="clients of a round, at most clients_per_round, that it waits for beyond the deadline",
            needs=(DEADLINE, WAITS),
        ),
    ] = 1

    def __post_init__(self) -> None:
        """Raise UsageError if a round is to wait for more clients than take part in it."""
        getattr(super(), "__post_init__", lambda: None)()
        if self.clients_per_round != "all" and self.min_clients > self.clients_per_round:
            raise UsageError(
                f"algorithm.min_clients = {self.min_clients}: want at most algorithm.clients_per_round = "
                f"{self.clients_per_round}"
            )

    def require_links(self, emulate: Emulate) -> None:
        """Raise UsageError as ``Algorithm.require_links``, or if who is late would depend on this machine's speed."""
        super().require_links(emulate)
        require_clock(self.deadline, emulate)
