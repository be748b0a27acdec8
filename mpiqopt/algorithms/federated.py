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
from functools import cached_property
from typing import Annotated, Literal
from weakref import WeakKeyDictionary

import numpy as np

from mpiqopt.algorithms.federated_keys import Deadline
from mpiqopt.algorithms.federated_plan import plans_ahead
from mpiqopt.algorithms.federated_portions import Portions
from mpiqopt.algorithms.federated_round import FederatedRound, Rows, State
from mpiqopt.algorithms.federated_uploads import Heard
from mpiqopt.algorithms.local_training import LocalTraining
from mpiqopt.algorithms.rollback import held_out_loss, require_held_out
from mpiqopt.errors import UsageError
from mpiqopt.federation.deadline import all_free
from mpiqopt.federation.outer import Memory, OuterOptimizer
from mpiqopt.field import Field, only, unless
from mpiqopt.network.network import Network
from mpiqopt.network.parts import Parts
from mpiqopt.network.server_round import Part, ServerRound
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

    drop_out: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="probability that a client of a round is lost before it sends anything: it is left out and "
            "counted, and what it kept is as before",
        ),
    ] = 0.0
    rollback: Annotated[
        bool,
        Field(
            description="take the server's step back if it makes the mean loss of the held-out samples jump: x, and "
            "what the server and the clients of the round keep, are then as before"
        ),
    ] = False
    rollback_threshold: Annotated[
        float,
        Field(
            ge=1,
            description="a jump is a loss of more than so many times that after the last step that was kept",
            needs=(only("rollback", True),),
        ),
    ] = 1.5

    def __post_init__(self) -> None:
        """Raise UsageError for personal layers with ``rollback``, which measures the common model."""
        super().__post_init__()
        if self.rollback and self.personal:
            raise UsageError("algorithm.rollback = true: measures the common model; want algorithm.personal = []")

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

    def make_portions(self, problem: Problem, network: Network, seed: int) -> Portions:
        """Return what of the model clients train and send: by default all of it, as one part."""
        return Portions(Parts.of_one(self.sent(problem.layers(tuple(self.personal)).travelling)))

    def counts_for(self, coverage: np.ndarray) -> np.ndarray:
        """Return by what the mean of each part is multiplied, float64 (parts,), where there are several.

        coverage: float64 (parts,), the weight of its senders, relative to that of all clients that send something
        """
        return np.ones(len(coverage))

    def beside(self, trained: Trained, state: State) -> np.ndarray:
        """Return what a client sends beside its message, float32, if its ``Portions`` have something."""
        raise NotImplementedError

    def receive_beside(self, heard: Heard, portions: Portions, state: State) -> State:
        """Return the state with what the server makes of what was sent beside messages."""
        return state

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

    def portions(self, problem: Problem, network: Network, seed: int) -> Portions:
        """Return ``make_portions`` of a run, made at the first call. seed: of the run."""
        if network not in self._portions:
            self.renew_portions(problem, network, seed)
        return self._portions[network]

    def renew_portions(self, problem: Problem, network: Network, seed: int) -> None:
        """Make the portions of a run, again if they were made before."""
        self._portions[network] = self.make_portions(problem, network, seed)

    def prepare(self, problem: Problem, network: Network, seed: int) -> None:
        if self.rollback:
            require_held_out(problem)
        self.portions(problem, network, seed)

    @cached_property
    def _portions(self) -> WeakKeyDictionary[Network, Portions]:
        return WeakKeyDictionary()

    def server_rounds(self, problem: Problem, network: Network, seed: int, rounds: int) -> Iterator[ServerRound]:
        chosen = self.portions(problem, network, seed)
        for t, plan in enumerate(plans_ahead(self, problem, network, seed, rounds)):
            work, sizes = self.work(t), problem.all_sizes[plan.trained]
            held = chosen.held[plan.portions[plan.senders]]
            beside = [0] * len(chosen.parts) if chosen.beside is None else chosen.beside.sizes.tolist()
            receivers = [plan.receivers] * len(beside) if self.two_way else plan.receivers_of_parts(chosen)
            of_parts = zip(held.T, chosen.parts.sizes.tolist(), beside, receivers, strict=True)
            yield ServerRound(
                senders=plan.senders,
                receivers=plan.receivers,
                values=chosen.parts.width,
                steps=work.count_steps(sizes),
                evaluations=int(work.count_evaluations(sizes).sum()),
                late=int((~plan.arrivals.used).sum()),
                left_out=len(plan.left_out),
                lost=len(plan.lost),
                seconds=plan.arrivals.seconds,
                parts=tuple(Part(plan.senders[sends], *other) for sends, *other in of_parts),
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
        layers, chosen = problem.layers(tuple(self.personal)), self.portions(problem, network, rng.seed)
        sent, inner = chosen.parts.width, self.local_optimizer(0).slots if self.keep_optimizer else 0
        feedback, late, nodes = self.feeds_back(network), self.applies_late, network.place.nodes
        beside = 0 if chosen.beside is None else chosen.beside.width
        several = late and len(chosen.held) > 1
        moving = layers.travelling_before(problem.client_trainer(rng).weights)
        first, second = two_shared(self.outer().start(layers.travel(x[0])[:moving]), hosted)

        def zeros(width: int, wanted: bool, dtype: np.dtype = x.dtype) -> Rows:
            return np.zeros((hosted, width), dtype) if wanted else ()

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
            late_beside=zeros(beside, late and beside > 0, np.dtype(np.float32)),
            busy=shared_rows(all_free(nodes), hosted) if late else (),
            portions=shared_rows(np.zeros(nodes, np.int64), hosted) if several else (),
            accepted=held_out_loss(problem, network, x[0]) if self.rollback else np.inf,
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
