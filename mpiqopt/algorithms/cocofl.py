"""CoCoFL: every device trains the window of a network's blocks that it can."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np

from mpiqopt.algorithms.fedavg import FedAvg
from mpiqopt.algorithms.federated_portions import Portions
from mpiqopt.algorithms.federated_round import State
from mpiqopt.algorithms.federated_uploads import Heard
from mpiqopt.algorithms.measured_windows import measure_ranks
from mpiqopt.algorithms.windows import Windows
from mpiqopt.errors import UsageError, errors_name_file, quote_in_error
from mpiqopt.federation.profiles import Profile, counted_profile, read_profile
from mpiqopt.field import Field, only, unless
from mpiqopt.network.network import Network
from mpiqopt.neural.partial import Block, Frozen
from mpiqopt.placement.shared_rows import shared_rows
from mpiqopt.problems.client_training import Trained
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams
from mpiqopt.transport.agreement import agreed_from_rank_0

# Values of ``profile`` that are no path.
WORDS = ("counted", "measured")


@register("algorithm", "cocofl")
@dataclass(frozen=True, kw_only=True)
class CoCoFL(FedAvg):
    """FedAvg whose clients train, and send, one window of consecutive blocks of the network each.

        x_b+ = x_b + a_g r_b sum_i p_i (y_i - x)_b/sum_i p_i   over the clients of the round that have trained block b,

    r_b their weight relative to that of all clients of the round ("share", as the paper's algorithm 2), or 1
    ("trainers"). Client i draws its window uniformly from the maximal ones whose time, memory and upload, as the
    profile has them, fit the limits of its device ([[devices]]). Other blocks are frozen, and computed with numbers of
    8 bits or less, whose scales come from those clients that train a block: the server sends their mean with the model.
    Source: Pfeiffer, Rapp, Khalili, Henkel, "CoCoFL: communication- and computation-aware federated learning via
    partial NN freezing and quantization", TMLR 2023.
    """

    fits_devices = True
    trains_blocks = True

    profile: Annotated[
        str,
        Field(
            min_length=1,
            description="what training each window takes: counted: estimated from what blocks compute and keep, the "
            "same on every machine; the path of a file of mpiqopt profile, relative to the config; or measured: each "
            "rank measures itself and its uplink at the start, and a round is as long as the fastest rank takes for "
            "all blocks, or the slowest for some: not reproducible",
        ),
    ] = "counted"
    profile_every: Annotated[
        int,
        Field(
            ge=0,
            description="rounds after which ranks measure themselves again; 0: at the start alone",
            needs=(only("profile", "measured"),),
        ),
    ] = 0
    windows: Annotated[
        Literal["own", "weakest"],
        Field(
            description="from which windows clients draw: those that their own device can train, or for all those that "
            "the weakest one can, to compare with"
        ),
    ] = "own"
    frozen: Annotated[
        Literal["int8", "float"],
        Field(description="how blocks before the window are computed: float is only slower, and exact"),
    ] = "int8"
    frozen_after: Annotated[
        Literal["int8", "float"],
        Field(description="how convolutions after the window are computed, which gradients pass"),
    ] = "int8"
    frozen_bits: Annotated[
        int,
        Field(
            ge=2,
            le=8,
            description="bits of the numbers that frozen blocks are computed with; below 8 simulated with those of 8",
            needs=(unless("frozen_in_float", True, "frozen blocks are computed in float"),),
        ),
    ] = 8
    aggregation: Annotated[
        Literal["share", "trainers"],
        Field(
            description="share: a block moves by the mean of those who trained it, times their share of the round's "
            "clients; trainers: by their mean"
        ),
    ] = "share"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.personal:
            raise UsageError("algorithm.personal: 'cocofl' averages all blocks; want none, or fedavg")
        if self.keep_optimizer:
            raise UsageError("algorithm.keep_optimizer = true: a client of 'cocofl' trains other blocks in each round")

    @property
    def frozen_in_float(self) -> bool:
        """True if no number is of 8 bits."""
        return self.frozen == self.frozen_after == "float"

    def in_folder(self, folder: str) -> Self:
        """Return the method with the path of its profile relative to a folder."""
        return self if self.profile in WORDS else replace(self, profile=str(Path(folder) / self.profile))

    def make_portions(self, problem: Problem, network: Network, seed: int) -> Portions:
        blocks, frozen = problem.blocks(), Frozen(self.frozen, self.frozen_after, self.frozen_bits)
        place, weakest = network.place, self.windows == "weakest"
        if self.profile == "measured":
            own, of_ranks = measure_ranks(problem, network, seed, self.work(0), frozen, self.deadline)
            rank_of = np.repeat(np.arange(place.ranks), place.counts)
        else:
            own = agreed_from_rank_0(network.transport, lambda: self._read(problem, blocks, frozen)).costs
            of_ranks, rank_of = [own], np.zeros(place.nodes, np.int64)
        return Windows(blocks, frozen, own, of_ranks, rank_of, network.devices, weakest, seed)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        if self.profile == "measured" and self.profile_every and state.t and state.t % self.profile_every == 0:
            self.renew_portions(problem, network, rng.seed)
        return super().step(state, problem, network, rng)

    def _read(self, problem: Problem, blocks: list[Block], frozen: Frozen) -> Profile:
        """Return the profile that ``profile`` stands for. Raises UsageError for one of another network."""
        counts = problem.block_counts()
        if self.profile == "counted":
            batch = int(problem.all_sizes.max()) if self.batch_size == "all" else self.batch_size
            return counted_profile(counts, batch, frozen)
        with errors_name_file("algorithm.profile"):
            profile = read_profile(self.profile)
        with errors_name_file(f"algorithm.profile = {quote_in_error(self.profile)}"):
            profile.require_network([count.name for count in counts], [count.coordinates for count in counts])
        return profile

    def counts_for(self, coverage: np.ndarray) -> np.ndarray:
        return coverage if self.aggregation == "share" else np.ones(len(coverage))

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        state, beside = super().init(x, problem, network, rng), self.portions(problem, network, rng.seed).beside
        if beside is None:
            return state
        return state._replace(common=shared_rows(np.zeros(beside.width, np.float32), len(x)))

    def beside(self, trained: Trained, state: State) -> np.ndarray:
        assert trained.scales is not None  # a window was trained
        return trained.scales

    def receive_beside(self, heard: Heard, portions: Portions, state: State) -> State:
        if heard.beside is None or portions.beside is None:
            return state
        trained = heard.coverage[portions.beside.of_each] > 0
        return state._replace(common=shared_rows(np.where(trained, heard.beside, state.common[0]), len(state.x)))
