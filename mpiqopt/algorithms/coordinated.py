"""What learning with coordinated averages shares: rounds of local training and one average, the same at all nodes."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, PositiveInt
from mpiqopt.coordination.coordinator import Coordinator
from mpiqopt.coordination.innovations import (
    Innovations,
    no_innovations,
    power_of_two_above,
    power_of_two_below,
)
from mpiqopt.coordination.protocol import Coder, CoordinationProtocol, FrameProtocol
from mpiqopt.errors import UsageError
from mpiqopt.field import Field, only, unless
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.problems.training import Descent, Trained
from mpiqopt.registry import find_member, require_member
from mpiqopt.streams import Streams
from mpiqopt.topologies.topology import Topology

if TYPE_CHECKING:  # imported where a round needs it: many ranks start at once
    from mpiqopt.coordination.ledger import Quorum

# zoom = "auto": Delta follows this share of the largest change of a coordinate, by a factor of at most 2 a round
FOLLOWED = 0.1
# asynchronous: a round waits for this share of a training for others that are about to finish
LATE = 0.1
# share of the longest step that is safe with late gradients
SAFE = 0.9
# for each coordinate of a node: its training, and vectors on the grid (measured by benchmarks/size.py)
TRAINING_BYTES = 40
# the same of innovations beside hat, which is part of the state (measured at 64 nodes, d = 40000)
INNOVATION_BYTES = 16

Zoom = Annotated[float, Field(gt=0, le=1)] | Literal["auto"]


@dataclass(frozen=True, kw_only=True)
class CoordinatedAlgorithm(Algorithm):
    """In each round the nodes that have trained have something new, and all nodes get the same average of vectors v_i.

    What is new of v_i since the last call travels, and the average is exact in the limit
    (``mpiqopt.coordination.innovations.Innovations``).

    In synchronous execution every round waits for all active nodes; in asynchronous execution nodes train in threads
    and join a round with what they have finished. A round begins when some node has something new. A method defines
    ``descent``, what a training is, and in each round calls

        trained = self.trained(x, x, state, 0.0, problem, network, rng)
        known = self.innovate(v, state.known, state.t, network)  # known.mean is the average
        known = self.refine(known, before, now)

    When rounds begin in asynchronous execution, and Delta from round to round, are ours.
    """

    directed = True
    common_point = True
    coordinates = True

    # zoom = "auto": Delta of innovations follows this share of the largest change; what is new is then so many Delta
    followed: ClassVar[float] = FOLLOWED
    late_innovation: ClassVar[float] = 1 / FOLLOWED
    # True if ``step_share`` is used
    bears_quorum: ClassVar[bool] = False

    quantization_step: Annotated[
        float, Field(gt=0, description="Delta_0, the distance of the grid's points; the power of two below it is taken")
    ] = 1e-2
    zoom: Annotated[
        Zoom,
        Field(
            description="Delta is multiplied by this in every round; 1: fixed; auto: Delta is a share of the largest "
            "change of a coordinate in the last round (docs/algorithms.md), at least half and at most twice what it "
            "was, never above Delta_0; always the power of two below"
        ),
    ] = "auto"
    min_quantization_step: Annotated[
        float, Field(gt=0, description="Delta does not fall below this", needs=(unless("zoom", 1),))
    ] = 1e-13
    coordinator: Annotated[
        str,
        Field(
            description="how nodes find the sum of their integers; averages are exact with any: collect: along a tree "
            "that they find themselves, fewest bytes; ftqc: the paper's, 25 times the bytes and more; pen: ftqc "
            "without votes, in lock-step; which to take, and what each costs: docs/coordination.md",
            family="coordinator",
        ),
    ] = "collect"
    coder: Annotated[
        Coder,
        Field(
            description="how integers are packed; trajectories are the same: tile: as many bits each as the largest of "
            "1024 needs, as quick as copying; rice: Golomb-Rice codes, shorter, one or two times as long; range: an "
            "adaptive range coder, shortest, 20 to 130 ns an integer: for thin links; auto: by mailboxes, what is "
            "quickest by the measured bandwidth of links and the measured speed of coders",
            needs=(unless("coordinator", "allreduce"),),
        ),
    ] = "tile"
    execution: Annotated[
        Literal["synchronous", "asynchronous"],
        Field(description="synchronous: all nodes wait for each other; asynchronous: nobody waits for a training"),
    ] = "synchronous"
    coordination: Annotated[
        Literal["auto", "lock-step", "mailboxes"],
        Field(
            description="lock-step: all nodes take steps together; mailboxes: each when something comes; auto: by "
            "execution",
            needs=(only("execution", "synchronous"), unless("coordinator", "allreduce")),
        ),
    ] = "auto"
    quorum: Annotated[
        float,
        Field(
            gt=0.5,
            le=1,
            description="share of the nodes that a round waits for, by mailboxes; less than 1: what others bring "
            "counts when it comes, and silent nodes hold nobody up (docs/coordination.md)",
            needs=(only("coordinator", "collect"),),
        ),
    ] = 1.0
    max_staleness: Annotated[
        PositiveInt,
        Field(
            description="every so many rounds those nodes are waited for that answer; steps are shorter, as if the "
            "others were so many rounds late",
            needs=(unless("quorum", 1),),
        ),
    ] = 10
    patience: Annotated[
        float,
        Field(
            gt=0, description="s without a word after which a node is taken for silent", needs=(unless("quorum", 1),)
        ),
    ] = 1.0
    activation: Annotated[
        Literal["all", "bernoulli"],
        Field(description="which nodes train in a round: all, or each with activation_probability (synchronous only)"),
    ] = "all"
    activation_probability: Annotated[
        float, Field(gt=0, le=1, description="of a node, in each round", needs=(only("activation", "bernoulli"),))
    ] = 0.5

    def __post_init__(self) -> None:
        require_member("algorithm.coordinator", "coordinator", self.coordinator)
        if self.innovates and not self.protocol.settles:
            raise UsageError(
                f"algorithm.coordinator = {self.coordinator!r}: votes, and does not say what of innovations nodes keep "
                "then; want another, or code = 'points'"
            )
        self._require_bearable()
        if self.min_quantization_step > self.quantization_step:
            raise UsageError(
                f"algorithm.min_quantization_step = {self.min_quantization_step:g}: want at most quantization_step = "
                f"{self.quantization_step:g}"
            )
        if self.asynchronous and self.activation != "all":
            raise UsageError(
                f"algorithm.activation = {self.activation!r}: for execution = 'synchronous'; in asynchronous execution "
                "those join that have finished"
            )
        if self.asynchronous and self.coordination == "lock-step":
            raise UsageError(
                "algorithm.coordination = 'lock-step': for execution = 'synchronous'; want 'mailboxes' or 'auto'"
            )
        if self.coder == "auto" and not self.by_mailboxes:
            raise UsageError(
                "algorithm.coder = 'auto': lock-step measures no links; want 'tile', 'rice', 'range', or "
                "coordination = 'mailboxes'"
            )
        if self.quorum < 1:
            self._require_ledger()

    def _require_bearable(self) -> None:
        """Raise UsageError if the coordinator cannot find what is asked for, or not in this way."""
        why = f"algorithm.coordinator = {self.coordinator!r}:"
        if not self.innovates and not self.protocol.finds_sum:
            raise UsageError(f"{why} finds no points; want another, or code = 'innovations'")
        if self.by_mailboxes and not self.protocol.by_mailboxes:
            raise UsageError(
                f"{why} nodes take their steps together; want another, or execution = 'synchronous' and coordination = "
                "'lock-step'"
            )

    def _require_ledger(self) -> None:
        """Raise UsageError unless rounds can do without some nodes."""
        why = f"algorithm.quorum = {self.quorum:g}:"
        if self.coordinator != "collect":
            raise UsageError(
                f"{why} {self.coordinator!r} needs all nodes in every round; want coordinator = 'collect', or 1"
            )
        if not self.bears_quorum:
            raise UsageError(f"{why} the method needs all nodes in every round; want 1")
        if not self.innovates:
            raise UsageError(f"{why} points are averages of all nodes; want code = 'innovations', or 1")
        if not self.by_mailboxes:
            raise UsageError(f"{why} in lock-step all nodes wait for each other; want coordination = 'mailboxes', or 1")

    def require(self, topology: Topology, regularizer: str) -> None:
        super().require(topology, regularizer)
        self.protocol.require(topology)

    @property
    def protocol(self) -> CoordinationProtocol:
        """The coordinator: what it needs of a network and what it costs."""
        return find_member("coordinator", self.coordinator)()

    @property
    def innovates(self) -> bool:
        """True if innovations travel."""
        return True

    @property
    def asynchronous(self) -> bool:
        """True if nodes train in threads, and no round waits for a training."""
        return self.execution == "asynchronous"

    @property
    def trains(self) -> bool:
        return True

    @property
    def in_background(self) -> bool:
        return self.asynchronous

    @property
    def variable_traffic(self) -> bool:
        return True

    def coordination_bytes(self) -> int:
        return TRAINING_BYTES + INNOVATION_BYTES * self.innovates + self.protocol.bytes_per_value

    @property
    def tolerates_loss(self) -> bool:
        return self.by_mailboxes and isinstance(self.protocol, FrameProtocol)

    @property
    def by_mailboxes(self) -> bool:
        """True if nodes coordinate without common steps."""
        return self.asynchronous if self.coordination == "auto" else self.coordination == "mailboxes"

    @abstractmethod
    def descent(self, pull: float = 0.0) -> Descent:
        """Return what a training is: steps, their size, samples, and the pull to a centre."""

    @property
    def extra_integers(self) -> int:
        """Return how many integers travel with each vector."""
        return 0

    def innovations(self, hosted: int, point: np.ndarray) -> Innovations:
        """Return the innovations of the first round; point: a vector (d,) that all nodes know, near what they have."""
        return no_innovations(self.quantization_step, hosted, point.astype(np.float64))

    def innovate(
        self, rows: np.ndarray, known: Innovations, t: int, network: Network, ages: np.ndarray | None = None
    ) -> Innovations:
        """Return what nodes have given of their rows (hosted, d) after round t; its ``mean`` is the average.

        A call of the coordinator, collective. ``refine`` is to follow. ages: int64 (hosted,), how many rounds ago the
        rows were new, for ``step_share``; None: they are.

        Raises
        ------
        NumericalError
            If what is new is too large for integers at this Delta.
        """
        return self._coordinator(network).innovate(
            rows, known, t, np.zeros(len(rows), np.int64) if ages is None else ages
        )

    def step_share(self, known: Innovations) -> float:
        """Return which share of a step of at most 1/L is safe after ``innovate``, the same at all nodes.

        Gradients are tau_i rounds old. With x+ = x - a C, C = mean_i g_i(x(k - tau_i)), and T a bound of the mean of
        the tau_i, F decreases in the sum over rounds, and gradients vanish, if

            a L (1/2 + T) < 1,

        because sum_k <x(k + 1) - x(k), C - grad F(x(k))> is at most L T sum_k |x(k + 1) - x(k)|^2. We take a at most
        .9 of that. T is the mean age that the author of the round counts: nodes that are not in its sum count as
        ``max_staleness`` rounds old. Source: ours, by the argument for delayed gradients (Aytekin, Feyzmahdavian,
        Johansson, arXiv 1610.05507).
        """
        return min(1.0, SAFE / (0.5 + known.age)) if self.quorum < 1 else 1.0

    def drained(self, state: Any, network: Network) -> Any:
        """Return the state less what came too late for its round, which nodes hold no more."""
        if self.quorum == 1:
            return state
        field, known = next((name, value) for name, value in state._asdict().items() if isinstance(value, Innovations))
        return state._replace(**{field: self._coordinator(network).held_back(known)})

    def refine(self, known: Innovations, before: np.ndarray, now: np.ndarray, share: float = 1.0) -> Innovations:
        """Return the same with Delta of the next round.

        before, now: (d,), what it is to be finer than the change of: ``followed`` times the share of it. A change below
        the distance of numbers of that size counts as that: in float32 the vector stops moving long before Delta is at
        its least, and what nodes bring goes on by such distances.
        """
        most = power_of_two_below(self.quantization_step)
        least = min(power_of_two_above(self.min_quantization_step), most)
        if self.zoom == "auto":
            change = max(float(np.abs(now.astype(np.float64) - before).max()), float(np.spacing(np.abs(now).max())))
            wanted = power_of_two_below(max(self.followed * share * change, least))
            step = min(max(wanted, known.delta / 2), 2 * known.delta, most)
        else:
            step = known.step * self.zoom
        return known._replace(step=max(step, least))

    def trained(
        self,
        starts: np.ndarray,
        centres: np.ndarray,
        state: Any,
        pull: float,
        problem: Problem,
        network: Network,
        rng: Streams,
    ) -> Trained:
        """Return what the nodes bring into round t: of a training each, now; or what was finished in the background.

        A training takes N_e steps w -= a (g_i(w) + pull (w - centre)), from w = start. In the background trainings
        begin where nodes are idle, and the round begins with the first news.

        Parameters
        ----------
        starts, centres : (hosted, d)
        state : of the method; its ``x`` is the common point, its ``t`` the round
        pull : weight of the distance to the centre, 1/rho in ADMM

        Returns
        -------
        Trained: who joins, where w came to, and the x at which the training began (earlier than this round if late).
        """
        how = self.descent(pull)
        if not self.asynchronous:
            active = self.active(state.t, rng, problem)
            return problem.trainer().train(starts, centres, state.x, how, state.t, active)
        training = problem.background_trainer()
        training.start(starts, centres, state.x, how, state.t)
        width = starts.shape[1] + self.extra_integers
        self._coordinator(network).wait(training.news, lambda: LATE * training.shortest(), width)
        return training.collect(state.x, state.t + 1)

    def _coordinator(self, network: Network) -> Coordinator:
        return network.coordination.coordinator(
            self.coordinator, "nearest", self.by_mailboxes, self.coder, self.required
        )

    @property
    def required(self) -> "Quorum | None":
        """Whom rounds wait for; None: for all."""
        if self.quorum == 1:
            return None
        from mpiqopt.coordination.ledger import Quorum

        return Quorum(self.quorum, self.max_staleness, self.patience)

    def active(self, t: int, rng: Streams, problem: Problem) -> np.ndarray:
        """Return which hosted nodes train in round t, bool (hosted,): drawn from run.seed, alike on any ranks."""
        if self.activation == "all":
            return np.ones(problem.hosted, bool)
        return rng.uniform("activation", t) < self.activation_probability
