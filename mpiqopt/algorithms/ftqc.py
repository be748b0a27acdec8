"""What the methods with finite-time coordinated averages of the papers share: local steps, and points on a grid."""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts, PositiveInt
from mpiqopt.algorithms.coordinated import FOLLOWED, CoordinatedAlgorithm, Zoom
from mpiqopt.arithmetic.rounding import exact_power
from mpiqopt.coordination.coordinator import Coordinator, Rounding
from mpiqopt.coordination.innovations import Innovations
from mpiqopt.field import Field, only
from mpiqopt.network.network import Network
from mpiqopt.problems.training import Descent


class GridStep(NamedTuple):
    """What all nodes know of the quantisation, the same at all.

    step: Delta of the next round; effort: steps of the last call, from which the next one begins (lock-step).
    """

    step: float
    effort: int


@dataclass(frozen=True, kw_only=True)
class FTQCAlgorithm(CoordinatedAlgorithm):
    """In each round the nodes that have trained have something new, and all nodes get the same average of vectors v_i.

    code = "points", the paper's: Delta floor((1/n) sum_i floor(v_i/Delta)), to the bit, by any coordinator.
    code = "innovations": what is new of v_i since the last call travels, and the average is exact in the limit
    (``mpiqopt.coordination.innovations.Innovations``).

    A method calls ``trained`` for what nodes bring, and then once a round

        average, grid = self.average(u, x, state.grid, state.t, trained.active, network)  # points
        grid = self.refine(self.innovate(v, state.grid, state.t, network), before, now)  # innovations, grid.mean

    References
    ----------
    Bastianello, Rikos, Johansson, arXiv 2307.06620 (zooming: Delta <- c Delta); ``zoom = "auto"`` and exponents j/n
    where j of n nodes joined are ours.
    """

    code: Annotated[
        Literal["innovations", "points"],
        Field(
            description="what travels: innovations: what is new of a node's vector since the last round, and what was "
            "left over then, so that the average is exact; points: the paper's, points of the grid in every round, the "
            "same bits by any coordinator"
        ),
    ] = "innovations"
    quantization_step: Annotated[
        float,
        Field(gt=0, description="Delta_0, the distance of the grid's points; innovations: the power of two below it"),
    ] = 1e-2
    zoom: Annotated[
        Zoom,
        Field(
            description="Delta is multiplied by this in every round in which all nodes joined (and by zoom^(j/n) if j "
            "of n did); 1: fixed; auto: Delta is a tenth of the largest change of a coordinate in the last round, at "
            "least half and at most twice what it was (2^(-j/n) and 2^(j/n) times), never above Delta_0; innovations: "
            "all count as if they had joined, and Delta is the power of two below (auto, ftqc-dgd: .4 of the change)"
        ),
    ] = "auto"
    local_steps: Annotated[PositiveInt, Field(description="N_e: gradient steps of a training")] = 1
    batch_size: Annotated[
        Annotated[int, Field(ge=0)] | Literal["all"],
        Field(description="samples of each gradient estimate, drawn uniformly with replacement; 0 or all: all samples"),
    ] = 0
    rounding: Annotated[
        Rounding,
        Field(
            description="floor: error in (-2 Delta, 0]; nearest: at most Delta, unbiased in practice",
            needs=(only("code", "points"),),
        ),
    ] = "floor"

    def smoothness(self, facts: Facts) -> float:
        return facts.smoothness(self.batch_size)

    def descent(self, pull: float = 0.0) -> Descent:
        """Return what a training is: steps, their size, samples, and the pull to a centre."""
        return Descent(self.step_size, self.local_steps, 0 if self.batch_size == "all" else self.batch_size, pull)

    @property
    def innovates(self) -> bool:
        return self.code == "innovations"

    @property
    def extra_integers(self) -> int:
        """Return 1 with points, for who has joined, else 0."""
        return int(not self.innovates)

    def grid(self, hosted: int, point: np.ndarray) -> GridStep | Innovations:
        """Return the grid of the first round; point: a vector (d,) that all nodes know, near what they have."""
        if not self.innovates:
            return GridStep(self.quantization_step, 0)
        return self.innovations(hosted, point)

    def average(
        self, rows: np.ndarray, previous: np.ndarray, grid: GridStep, t: int, active: np.ndarray, network: Network
    ) -> tuple[np.ndarray, GridStep]:
        """Return the nodes' average on the grid and the next grid; a call of the coordinator, collective.

        Parameters
        ----------
        rows : (hosted, d)
        previous : (hosted, d), rows equal at all nodes: integers travel less those of it
        grid : GridStep
        t : number of the round
        active : bool (hosted,), who has joined; the number of them all sets the next Delta

        Returns
        -------
        (hosted, d) of equal rows, and GridStep

        Raises
        ------
        NumericalError
            If the integers rows/Delta are too large.
        """
        agreed = self._coordinator(network).coordinate(
            rows, previous[0], grid.step, t, grid.effort, active.astype(np.int64)[:, None]
        )
        average = np.repeat(agreed.vector.astype(rows.dtype)[None], len(rows), axis=0)
        joined = int(agreed.extra[0])
        step = self._next_step(grid.step, joined / network.place.nodes, average[0], previous[0])
        return average, GridStep(step, agreed.effort)

    def _next_step(self, step: float, share: float, now: np.ndarray, before: np.ndarray) -> float:
        """Return Delta of the next round, if that share of the nodes joined in this one."""
        if self.zoom == "auto":
            change = float(np.abs(now.astype(np.float64) - before).max())
            step = min(
                max(FOLLOWED * change, step * exact_power(0.5, share)),
                step * exact_power(2, share),
                self.quantization_step,
            )
        else:
            step *= exact_power(self.zoom, share)
        return max(step, self.min_quantization_step)

    def _coordinator(self, network: Network) -> Coordinator:
        return network.coordination.coordinator(
            self.coordinator, self.rounding, self.by_mailboxes, self.coder, self.required
        )
