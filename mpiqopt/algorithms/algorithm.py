"""The base class of methods: hyper-parameters in a frozen dataclass, and two functions of a state."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from mpiqopt.compressors.compressor import Compressor
from mpiqopt.emulation.settings import Emulate
from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import family_members
from mpiqopt.streams import Streams
from mpiqopt.topologies.topology import Topology

if TYPE_CHECKING:
    from mpiqopt.network.server_round import ServerRound

# a L below which gradient descent converges
DESCENT = 2.0

Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]
BatchSize = Annotated[
    PositiveInt | Literal["all"],
    Field(
        description="samples per node and iteration, drawn uniformly with replacement; a node with fewer takes each of "
        "its own once; all: every node's full data"
    ),
]


# Share of the largest stable step that automatic steps take.
SHARE = 0.95
# A stable step below this, in units of 1/L, would need more iterations than anybody waits for.
HOPELESS_STEP = 1e-3


class Facts(NamedTuple):
    """What automatic values are computed from.

    Attributes
    ----------
    lipschitz: L, the largest smoothness constant of a node; None if no automatic value needs it, as are the next six.
    mean_lipschitz: smoothness constant of F, as a bound.
    mean_squared: Lambda, root mean square of the constants of a node's samples (largest of the nodes).
    largest: largest smoothness constant of a sample.
    variance: variance of the gradient of one sample at the start (mean of the nodes).
    observed: curvature of F as seen in a few gradients; set for methods that have ``observes``.
    slack: ``observed`` over the bound that L gives for it, at most 1.
    samples, most_samples: mean and largest number of samples of a node.
    topology: the network, with its constants.
    strong_convexity: mu of every f_i as far as it is known, else 0.
    tolerance: ``run.tolerance`` or None.
    regularized: True if h is not 0.
    coded: True if a compressor other than the identity is used.
    omega, damping, delta: of the compressor on messages of this length: variance, factor that makes it a contraction,
        and contraction when damped.
    usual_delta, gossip_omega: delta on vectors without special structure, and the omega that gossip may count on.
    """

    lipschitz: float | None
    samples: float
    topology: Topology
    omega: float | None = None
    damping: float = 1.0
    delta: float | None = 1.0
    usual_delta: float | None = 1.0
    gossip_omega: float | None = None
    mean_lipschitz: float | None = None
    mean_squared: float | None = None
    largest: float | None = None
    most_samples: int = 0
    variance: float | None = None
    observed: float | None = None
    slack: float | None = None
    strong_convexity: float = 0.0
    tolerance: float | None = None
    regularized: bool = True
    coded: bool = False

    def exact(self, batch_size: int | str) -> bool:
        """Return True if a batch contains all samples of every node."""
        return batch_size in (0, "all") or batch_size >= self.most_samples

    def smoothness(self, batch_size: int | str, averaged: float = 1.0) -> float:
        """Return L(b) with E[H_b^2] <= L(b) H, H_b the Hessian of a batch of b draws, its mean H: L + (max L_ij - L)/b.

        Steps of 1/L(b) converge in mean square (Gower et al. 2019, "SGD: general analysis and improved rates").

        Parameters
        ----------
        batch_size: draws per node and iteration, or "all" for no noise.
        averaged: what is left of the variance of a node's gradient when nodes are averaged, 1 down to 1/n.
        """
        return self.lipschitz + self.noise(batch_size, averaged)

    def noise(self, batch_size: int | str, averaged: float) -> float:
        """Return what ``smoothness`` adds to L for the noise of batches."""
        return 0.0 if self.exact(batch_size) else averaged * max(self.largest - self.lipschitz, 0.0) / batch_size


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """A method for min_x F(x) + h(x),  F = (1/n) sum_i f_i, written for the rows X (hosted, d) of the hosted nodes.

    A subclass is a frozen dataclass whose fields are the keys of ``[algorithm]``; it defines ``init`` and ``step``.
    ``step`` is a function of the state but for communication and the problem's counters: all that a run needs to
    go on is in the state, a NamedTuple whose first field is x and whose fields are (hosted, d) arrays, integers that
    are equal at all nodes, or NamedTuples of such. Vectors that all nodes know may be rows of one memory
    (``placement.shared_rows``), in every state or in none. Steps make new arrays and never change those of the state
    they got.

    In the formulas of all methods a is the step size, W the mixing matrix, I the identity, G = G(X) the rows of local
    gradients (of full data or of a fresh minibatch), C the compressor, and a plus marks the value after the step.

    Examples
    --------
    >>> from mpiqopt.algorithms.dgd import DGD
    >>> from mpiqopt.contracts.algorithm import small_experiment
    >>> made = small_experiment(DGD(step_size=0.1))  # least squares at 8 nodes in a ring, d = 5
    >>> state = made.algorithm.init(made.start, made.problem, made.network, made.streams)
    >>> state = made.algorithm.step(state, made.problem, made.network, made.streams)
    >>> state.x.shape, state.t
    ((8, 5), 1)
    """

    name: ClassVar[str]  # that it is registered under
    proximal: ClassVar[bool] = True  # handles h != 0
    fixed_symmetric: ClassVar[bool] = False  # needs one symmetric W
    message_vectors: ClassVar[int] = 1  # vectors that travel in each message
    extra_values: ClassVar[int] = 0  # numbers that travel with them
    mixed_variables: ClassVar[int] = 1  # variables that are mixed in an iteration
    server: ClassVar[bool] = False  # communicates with a server only
    common_point: ClassVar[bool] = False  # all nodes have the same x
    coordinates: ClassVar[bool] = False  # takes averages by a coordinator (``mpiqopt.coordination``)
    observes: ClassVar[bool] = False  # automatic values use ``Facts.observed``
    directed: ClassVar[bool] = False  # works on any strongly connected digraph
    augments: ClassVar[bool] = False  # trains on images that are changed as ``data.augment`` says
    federated: ClassVar[bool] = False  # an iteration is a round of clients, whose seconds can be emulated
    fits_devices: ClassVar[bool] = False  # asks what a client's device can do: the limits of [[devices]]
    trains_blocks: ClassVar[bool] = False  # wants a network, of whose blocks clients train some
    in_regions: ClassVar[bool] = False  # averages within regions, then between them
    exact: ClassVar[bool] = False  # with full batches every node reaches the optimum; ``mpiqopt test`` holds it to that
    keys_from_data: ClassVar[tuple[str, ...]] = ("step_size",)  # whose automatic values need constants of the data
    default_compressor: ClassVar[str | None] = None  # without a table [compressor]; None: messages are never coded

    step_size: Annotated[
        Positive | Literal["auto"],
        Field(
            description="step size alpha; auto: a step that converges, made from the smoothness of data and batches "
            "and from the topology (mpiqopt check prints them)"
        ),
    ] = "auto"

    @property
    def one_row(self) -> bool:
        """Return True if nodes have one point in one row of memory, as ``placement.shared_rows`` makes it.

        The start is given so, and the x of every state must be so; checkpoints and results then have it once.
        """
        return False

    @property
    def trains(self) -> bool:
        """Return True if nodes train one by one, by ``problem.training``."""
        return False

    @property
    def in_background(self) -> bool:
        """Return True if nodes train in threads while messages travel."""
        return False

    @property
    def variable_traffic(self) -> bool:
        """Return True if the traffic depends on the values sent, so that `check` cannot predict it."""
        return False

    def coordination_bytes(self) -> int:
        """Return the bytes for each coordinate of a node that coordination takes, as measured; 0 without."""
        return 0

    @property
    def tolerates_loss(self) -> bool:
        """Return True if lost messages are retransmitted, so that ``emulate.loss`` is allowed."""
        return False

    @property
    def uses_interval(self) -> bool:
        """Return True if gossip uses the interval of W's eigenvalues: all ranks and a continuation get the same."""
        return False

    def automatic_from_data(self) -> list[str]:
        """Return the keys at 'auto' whose values are made of the data's constants."""
        return [key for key in self.keys_from_data if getattr(self, key, None) == "auto"]

    def own_automatic(self) -> list[str]:
        """Return the keys at 'auto' that a class outside of the package has added.

        The ``resolve`` of such a class must make numbers of them. The package's own classes may leave a key at 'auto'
        and decide it elsewhere.
        """
        theirs = [cls for cls in type(self).__mro__ if not cls.__module__.startswith("mpiqopt.")]
        added = {key for cls in theirs for key in vars(cls).get("__annotations__", ())}
        return [key for key in sorted(added) if getattr(self, key, None) == "auto"]

    def in_folder(self, folder: str) -> Self:
        """Return the method with its paths relative to a folder, that of the config."""
        return self

    def prepare(self, problem: Problem, network: Network, seed: int) -> None:  # noqa: B027 (most need nothing)
        """Make what the method needs of a problem and a network, collective; before ``init`` and ``server_rounds``.

        seed: of the run. Raises UsageError, the same on all ranks, for what does not fit.
        """

    def require_resolved(self) -> None:
        """Raise UsageError if, after ``resolve``, a key of a plug-in is still 'auto'."""
        for key in self.own_automatic():
            raise UsageError(
                f"algorithm.{key} = 'auto': {type(self).__name__}.resolve() makes no number of it: give algorithm.{key}"
            )

    def resolve(self, facts: Facts) -> Self:
        """Return the method with every automatic value replaced by a number.

        Raises UsageError where no value is known for this network, problem or compressor.
        """
        if self.step_size != "auto":
            return self
        return replace(self, step_size=self.automatic_step(facts))

    def largest_stable_step(self, facts: Facts) -> float | None:
        """Return r: steps below r/L converge, for convex f_i however unequal. None where no such r is known."""
        return DESCENT

    def smoothness(self, facts: Facts) -> float:
        """Return the L that bounds step sizes: of a node, of F or of minibatches, as the method needs it."""
        return facts.lipschitz

    def automatic_step(self, facts: Facts) -> float:
        """Return a step size that converges: 1/L, or SHARE of the largest stable one if that is less.

        Raises UsageError where no stable step is known, or none that would lead anywhere.
        """
        return min(1.0, SHARE * self.require_step(facts)) / self.smoothness(facts)

    def require_step(self, facts: Facts) -> float:
        """Return ``largest_stable_step``. Raises UsageError, with the cure, if it is unknown or below HOPELESS_STEP."""
        bound, name = self.largest_stable_step(facts), facts.topology.name
        if bound is None:
            raise UsageError(
                f"algorithm.step_size = 'auto': no step is known that {self.name!r} bears over topology {name!r}, "
                "whose W is too large for that, varies or is not doubly stochastic: give algorithm.step_size"
            )
        if bound < HOPELESS_STEP:
            raise UsageError(
                f"algorithm.step_size = 'auto': {self.name!r} bears no step beyond {bound:.2g}/L over topology "
                f"{name!r} (W has eigenvalues close to the unit circle, away from 1): use topology.weights = "
                "'lazy-metropolis', another topology, or proxgt-sr-e, whose gossip_rounds grow with it; or give "
                "algorithm.step_size"
            )
        return bound

    def rounds_per_variable(self) -> int:
        """Return how many gossip rounds mix a variable once."""
        return 1

    def rounds(self) -> int:
        """Return the gossip (or server) rounds of one iteration, after ``resolve``."""
        return self.mixed_variables * self.rounds_per_variable()

    @property
    def coded_downlink(self) -> bool:
        """Return True if the server compresses what it sends to the nodes, too."""
        return False

    def server_rounds(
        self, problem: Problem, network: Network, seed: int, rounds: int
    ) -> Iterator["ServerRound"] | None:
        """Return what the first rounds with a server will cost, for `mpiqopt check`; None if all nodes send in each.

        seed: of the run. rounds: how many are asked for.
        """
        return None

    def facts_for_check(self, given: "Algorithm", topology: Topology, coded: bool) -> list[tuple[str, str]]:
        """Return what `mpiqopt check` prints about values of this method alone, as (name, text).

        given: the method as in the config, before ``resolve``. coded: True if messages are compressed.
        """
        return []

    @abstractmethod
    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> Any:
        """Return the state at the start.

        Parameters
        ----------
        x: the start (hosted, d) in the dtype of the run, equal at all nodes; not to be changed. With ``one_row`` it is
            one row of memory, and so must be the x of all states.
        problem: evaluates f_i, gradients and the prox of h at the hosted nodes.
        network: mixes rows with neighbours, or averages them at a server.
        rng: minibatches and other draws, keyed by iteration.
        """

    @abstractmethod
    def step(self, state: Any, problem: Problem, network: Network, rng: Streams) -> Any:
        """Return the state after one iteration; parameters as of ``init``.

        It makes ``rounds()`` rounds of the network, unless the method has ``variable_traffic``.
        """

    def drained(self, state: Any, network: Network) -> Any:
        """Return the state when no message is on its way any more; called before records and checkpoints.

        Asynchronous methods wait here for what was sent; others return the state as it is.
        """
        return state

    def require(self, topology: Topology, regularizer: str) -> None:
        """Raise UsageError if the method cannot handle the topology or the regulariser called so."""
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
        """Raise UsageError if the method does not terminate over links that lose messages."""
        if emulate.silent and not self.tolerates_loss:
            raise UsageError(
                f"emulate.silent = {emulate.silent}: {self.name!r} as configured uses no mailboxes, and messages of "
                "silent nodes would be lost for ever"
            )
        if emulate.loss and not self.tolerates_loss:
            raise UsageError(
                f"emulate.loss = {emulate.loss}: {self.name!r} as configured waits for every message, and a lost one "
                "would stop it for ever; want coordination = 'mailboxes' or execution = 'asynchronous' (ftqc-dgd, "
                "ftqc-admm, push-sum, push-diging)"
            )

    def require_compressor(self, compressor: Compressor, topology: Topology) -> None:
        """Raise UsageError if the method cannot use the compressor on the topology."""
        if self.default_compressor is None and compressor.name != "identity":
            coding = [name for name, cls in family_members("algorithm").items() if cls.default_compressor]
            raise UsageError(
                f"compressor.name = {compressor.name!r}: algorithm {self.name!r} sends its vectors as they are; coded "
                f"messages are for {', '.join(coding)}"
            )
        if compressor.name != "identity" and topology.varies and not self.server:
            raise UsageError(
                f"compressor.name = {compressor.name!r}: coded gossip needs one mixing matrix, but topology "
                f"{topology.name!r} varies in time"
            )
        compressor.require(self.name, self.server)
        if not compressor.approximates and self.default_compressor != compressor.name:
            raise UsageError(f"compressor.name = {compressor.name!r}: gives a direction only; try scaled-sign")


def tracking_step(contraction: float, least: float) -> float:
    """Return a L of gradient tracking, from lambda, the contraction of its gossip: 10 (1 - lambda), ``least`` to 1.

    Modes of the mean shrink by 1 - a mu, those that tell nodes apart by 1 - (1 - lambda)^2/(a L), for lambda near 1:
    both alike for a L = (1 - lambda) sqrt(L/mu), which is not known; 100 is assumed for L/mu (ours).

    >>> [round(tracking_step(contraction, least=0.25), 6) for contraction in (0.99, 0.95, 0.5)]
    [0.25, 0.5, 1.0]
    """
    return min(1.0, max(least, 10 * (1 - contraction)))


def kept_share(topology: Topology) -> float:
    """Return r: X+ = prox(W X - a G(X)) is an averaged map for a < r/L, whatever the convex f_i and h.

    r = 1 + lambda_min(W), or for matrices in turn and of digraphs 2 min_i w_ii: with w_ii >= c and weights >= 0,
    W X - a G = (1 - c) V X + c (X - (a/c) G) for a doubly stochastic V (ours).
    """
    if not topology.varies and topology.symmetric:
        return 1 + topology.smallest_eigenvalue
    return 2 * min(mixing.smallest_diagonal() for mixing in topology.cycle)


def proximal_step(x: np.ndarray, direction: np.ndarray, step: float, problem: Problem) -> np.ndarray:
    """Return prox_{a h}(x - a direction) at every node.

    Parameters
    ----------
    x: rows (hosted, d) that are all equal. direction: one vector (d,). step: a.
    """
    return np.repeat(problem.prox(x[:1] - step * direction, step), len(x), axis=0)
