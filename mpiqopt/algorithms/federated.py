"""The base class of federated methods: rounds of clients that train on their own samples, and a server.

One round with all clients, one step each and all samples is a step of gradient descent on F:

>>> from mpiqopt.algorithms.fedavg import FedAvg
>>> from mpiqopt.contracts.algorithm import small_experiment, state_after
>>> made = small_experiment(FedAvg(step_size=0.1), start="normal")
>>> before, after = state_after(made, 0), state_after(made, 1)
>>> gradient = made.problem.grad(before.x.copy()).mean(axis=0)
>>> bool(abs(after.x[0] - (before.x[0] - 0.1 * gradient)).max() < 1e-14)
True
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np

from mpiqopt.algorithms.federated_keys import Deadline
from mpiqopt.algorithms.federated_plan import plans_ahead
from mpiqopt.algorithms.federated_round import FederatedRound, Rows, State
from mpiqopt.algorithms.local_training import LocalTraining
from mpiqopt.federation.deadline import all_free
from mpiqopt.federation.outer import Memory, OuterOptimizer
from mpiqopt.field import Field, unless
from mpiqopt.network.network import Network
from mpiqopt.network.server_round import ServerRound
from mpiqopt.placement.shared_rows import shared_rows
from mpiqopt.problems.client_training import Trained
from mpiqopt.problems.problem import Problem
from mpiqopt.streams import Streams


@dataclass(frozen=True, kw_only=True)
class FederatedAlgorithm(Deadline, LocalTraining):
    """In each round some clients download x, train on their own samples and upload what they have moved:

        y_i = training of client i from x,   u_i = y_i - x,   x+ = server's step along  sum_i p_i C(u_i) / sum_i p_i

    over the clients i of the round. C is the compressor, with error feedback: what it leaves out of u_i is added to the
    client's next update. A subclass changes how clients train (``work``, ``correction``), what they send (``payload``)
    and what the server does with it (``outer``, ``receive``).

    References
    ----------
    McMahan, Moore, Ramage, Hampson, Aguera y Arcas, "Communication-efficient learning of deep networks from
    decentralized data", AISTATS 2017.
    """

    proximal = False
    federated = True
    augments = True
    server = True
    common_point = True
    default_compressor = "identity"

    weighting: Annotated[
        Literal["uniform", "samples"],
        Field(description="weight p_i of a client's update: 1, which is for F = mean of the f_i, or its samples"),
    ] = "uniform"
    two_way: Annotated[
        bool,
        Field(
            description="compress the way down, too: the server sends the coded change of x to all nodes in every "
            "round, with error feedback of its own; false: clients of a round download x as it is"
        ),
    ] = False
    error_feedback: Annotated[
        bool,
        Field(
            description="add what a coded message has left out to the next one",
            needs=(unless("compressor.name", "identity"),),
        ),
    ] = True

    personal: Annotated[
        list[str],
        Field(
            description="layers of the network that clients keep to themselves, by the beginning of the names of their "
            "parameters (mpiqopt check lists them), such as the last layer: they are trained, but never sent"
        ),
    ] = field(default_factory=list)

    # What a subclass changes

    def outer(self) -> OuterOptimizer:
        """Return the server's optimiser: by default x+ = x + mean of the updates."""
        return OuterOptimizer("sgd", 1.0)

    def left_out(self, cohort: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """Return which clients of a round do not take part, bool (k,). By default all do.

        seconds: emulated, of the round at each.
        """
        return np.zeros(len(cohort), bool)

    def sent(self, travelling: int) -> int:
        """Return how many numbers a message has, up or down. travelling: coordinates of x that travel."""
        return travelling

    def correction(self, i: int, state: State) -> np.ndarray | None:
        """Return what is added to the gradients of hosted client i, (d,). By default nothing is."""
        return None

    def payload(self, i: int, moved: np.ndarray, trained: Trained, state: State, after: State) -> np.ndarray:
        """Return what hosted client i sends, (``sent``,): by default what it has moved.

        Parameters
        ----------
        moved : (p,), y_i - x, of the coordinates that travel
        trained : of its training
        state : at the beginning of the round
        after : whose arrays of what clients keep are to be changed, in row i
        """
        return moved

    def receive(
        self, mean: np.ndarray, x: np.ndarray, moving: int, share: float, state: State
    ) -> tuple[np.ndarray, State]:
        """Return the server's x+ (p,), and the state with what else the server keeps.

        Parameters
        ----------
        mean : (``sent``,), the weighted mean of what clients have sent
        x : (p,), the coordinates that travel
        moving : how many of them the server's optimiser moves, as in ``serve``
        share : of all clients, that have sent something
        """
        memory = tuple(rows[0] for rows in (state.first, state.second) if isinstance(rows, np.ndarray))
        x, memory = self.serve(x, mean[: len(x)], moving, memory)
        first, second = two_shared(memory, len(state.x))
        return x, state._replace(first=first, second=second)

    def known(self, x: np.ndarray, state: State) -> np.ndarray:
        """Return what the server lets all clients know, (``sent``,): by default x (p,)."""
        return x

    def learn(self, known: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return x (p,), and the state, that ``known`` tells: the reverse of it."""
        return known, state

    # What all have in common

    def serve(self, x: np.ndarray, moved: np.ndarray, moving: int, memory: Memory) -> tuple[np.ndarray, Memory]:
        """Return x+ (p,) and what the server's optimiser keeps, from what clients have ``moved`` in the mean, (p,).

        moving : the first coordinates are the optimiser's; those after them are running statistics of a network, which
        become their mean: with a step or a momentum of its own a variance could be negative
        """
        point, memory = self.outer().apply(x[:moving], -moved[:moving], memory)
        return (point if moving == len(x) else np.concatenate([point, x[moving:] + moved[moving:]])), memory

    def weights(self, sizes: np.ndarray) -> np.ndarray:
        """Return the weights p_i of all clients, float64 (nodes,). sizes: their samples."""
        return sizes.astype(float) if self.weighting == "samples" else np.ones(len(sizes))

    def width(self, problem: Problem) -> int:
        """Return how many numbers a message has on a problem, up or down."""
        return self.sent(problem.layers(tuple(self.personal)).travelling)

    def server_rounds(self, problem: Problem, network: Network, seed: int, rounds: int) -> Iterator[ServerRound]:
        for t, plan in enumerate(plans_ahead(self, problem, network, seed, rounds)):
            work, sizes = self.work(t), problem.all_sizes[plan.trained]
            yield ServerRound(
                senders=plan.senders,
                receivers=plan.receivers,
                values=self.width(problem),
                steps=work.count_steps(sizes),
                evaluations=int(work.count_evaluations(sizes).sum()),
                late=int((~plan.arrivals.used).sum()),
                left_out=len(plan.left_out),
                seconds=plan.arrivals.seconds,
            )

    @property
    def one_row(self) -> bool:
        """True unless clients have personal layers: x is one row for all."""
        return not self.personal

    @property
    def coded_downlink(self) -> bool:
        return self.two_way

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        hosted, d = x.shape
        layers = problem.layers(tuple(self.personal))
        sent, inner = self.sent(layers.travelling), self.local_optimizer(0).slots if self.keep_optimizer else 0
        feedback, late = self.feeds_back(network), self.applies_late
        moving = layers.travelling_before(problem.client_trainer(rng).weights)
        first, second = two_shared(self.outer().start(layers.travel(x[0])[:moving]), hosted)

        def zeros(width: int, wanted: bool) -> Rows:
            return np.zeros((hosted, width), x.dtype) if wanted else ()

        return State(
            x=shared_rows(x[0], hosted) if self.one_row else x,
            first=first,
            second=second,
            common=(),
            own=(),
            inner_first=zeros(d, inner > 0),
            inner_second=zeros(d, inner > 1),
            taken=np.zeros(hosted, np.int64) if inner else (),
            error=zeros(sent, feedback),
            server_error=shared_rows(np.zeros(sent, x.dtype), hosted) if feedback and self.two_way else (),
            late=zeros(sent, late),
            busy=shared_rows(all_free(network.place.nodes), hosted) if late else (),
            seconds=0.0,
            t=0,
        )

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        return FederatedRound(self, state, problem, network, rng).run()

    @property
    def applies_late(self) -> bool:
        """True if late updates are applied in a later round."""
        return self.deadline is not None and self.late == "apply"

    def feeds_back(self, network: Network) -> bool:
        """Return True if clients and server add to a message what coded ones before have left out."""
        return self.error_feedback and network.coded


def two_shared(vectors: Memory, hosted: int) -> tuple[Rows, Rows]:
    """Return the rows of up to two vectors that all nodes know; () for those that are missing."""
    rows = [shared_rows(each, hosted) for each in vectors]
    first, second = (*rows, (), ())[:2]
    return first, second
