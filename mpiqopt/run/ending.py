"""Decide when a run is over: what it was to reach, its iterations, or numbers that are of no use any more."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mpiqopt.placement.shared_rows import distinct_rows
from mpiqopt.run.assembly import Experiment
from mpiqopt.run.metrics import Metrics

# A run has diverged when its objective is so many times that of the start, and rises.
BEYOND = 1e6
# Nodes' own objectives, which cost a pass over the data, are looked at when consensus has grown so many times since.
LOOK = 10.0
# Features are unscaled if the largest is so many times the median one.
UNEVEN = 30.0


class End(NamedTuple):
    """Why a run is over. status: "finished", "stopped" or "diverged"; reason: for the user."""

    status: str
    reason: str


class Goal(NamedTuple):
    """Something that a run is to reach: whether it has, and what is said of it if it has or has not."""

    reached: bool
    said: str
    missed: str = ""


class Outcome(NamedTuple):
    """How a run ended.

    Attributes
    ----------
    status : "finished", "stopped" (a checkpoint is there) or "diverged"
    reason : for the user
    iteration : iterations done
    metrics : of the last record; None if there is none
    cure : what may help against a divergence
    written : False if the file on disk is behind what was done
    """

    status: str
    reason: str
    iteration: int
    metrics: Metrics | None
    cure: str = ""
    written: bool = True


class Watched(NamedTuple):
    """What is remembered from record to record, and in checkpoints, to notice a divergence.

    objective: F + h at the last record; looked: consensus when the nodes' own objectives were last looked at.
    """

    objective: float = float("nan")
    looked: float = 0.0

    def to_save(self) -> dict[str, float]:
        """Return both, by the names that they have in checkpoints."""
        return {f"watched_{name}": value for name, value in self._asdict().items()}

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> "Watched":
        """Return them as a checkpoint has them."""
        return cls(*(saved[f"watched_{name}"] for name in cls._fields))


class Ending:
    """Decides at every record whether a run goes on. All calls are collective.

    Parameters
    ----------
    experiment : what is run
    watched : from the checkpoint that is continued
    """

    def __init__(self, experiment: Experiment, watched: Watched | None = None):
        self.experiment, self.watched = experiment, watched or Watched()
        self._training = experiment.config.record.training
        start = distinct_rows(experiment.start)
        self.scale = np.nan if self._training == "none" else max(map(self._objective, (start, np.zeros_like(start))))

    def of(self, x: np.ndarray, metrics: Metrics, iteration: int, sent: int) -> End | None:
        """Return the end if the run is over at this record, else None.

        x: the hosted nodes' iterates (hosted, d); sent: bytes from node to node so far.
        """
        reasons = [self._diverged(x, metrics, iteration), self._reached(metrics, sent)]
        # rank 0 decides: ranks must not part
        over = self.experiment.network.transport.broadcast(np.array([bool(reason) for reason in reasons])).tolist()
        if over[0]:
            return End("diverged", f"diverged at iteration {iteration}: {reasons[0]}")
        if over[1]:
            return End("finished", reasons[1])
        if iteration == self.experiment.config.run.iterations:
            return End("finished", f"iterations: {iteration} done{self._missed(metrics)}")
        return None

    def _reached(self, metrics: Metrics, sent: int) -> str:
        """Return what the run was to reach and has; "" if nothing."""
        return next((goal.said for goal in self._goals(metrics, sent) if goal.reached), "")

    def _missed(self, metrics: Metrics) -> str:
        """Return what the run was to reach and has not, with what it has reached."""
        return "".join(f"; {goal.missed}" for goal in self._goals(metrics, 0) if goal.missed)

    def _goals(self, metrics: Metrics, sent: int) -> Iterator[Goal]:
        """Yield what the run is to reach, the first first."""
        run, measure, distance = self.experiment.config.run, self._measure(), self._distance(metrics)
        if run.tolerance is not None:
            yield Goal(
                distance <= run.tolerance,
                f"tolerance: {measure} <= {run.tolerance:g}",
                f"tolerance {run.tolerance:g} not reached ({measure} = {distance:.3g})",
            )
        if run.stop_accuracy is not None and metrics.accuracy is not None:
            yield Goal(
                metrics.accuracy >= run.stop_accuracy,
                f"accuracy: {metrics.accuracy:.4g} >= {run.stop_accuracy:g}",
                f"accuracy {run.stop_accuracy:g} not reached ({metrics.accuracy:.4g})",
            )
        if run.stop_gap is not None and run.optimum is not None:
            gap = metrics.objective - run.optimum
            yield Goal(
                gap <= run.stop_gap,
                f"gap: objective - {run.optimum:.12g} <= {run.stop_gap:g}",
                f"gap {run.stop_gap:g} not reached ({gap:.3g})",
            )
        if run.stop_bytes is not None:
            yield Goal(sent >= run.stop_bytes, f"bytes: {sent} sent, want at most {run.stop_bytes:g}")

    def _distance(self, metrics: Metrics) -> float:
        """Return what ``run.tolerance`` bounds."""
        lipschitz = self.experiment.constants.lipschitz
        if not self.experiment.watches_consensus or lipschitz is None:
            return metrics.stationarity
        return metrics.stationarity + lipschitz * lipschitz * metrics.consensus

    def _measure(self) -> str:
        """Return the name of ``_distance``."""
        return "stationarity + L^2 consensus" if self.experiment.watches_consensus else "stationarity"

    def _diverged(self, x: np.ndarray, metrics: Metrics, iteration: int) -> str:
        """Return why the numbers are of no use any more; "" if they are of use.

        Without objectives (``record.training`` "none") only iterates that are not finite tell.
        """
        before, rising = self.watched, metrics.objective > self.watched.objective
        self.watched = before._replace(objective=metrics.objective)
        if not metrics.is_finite(self._training):
            return "the iterates are no longer finite" if iteration else "the data or the start overflow"
        if rising and BEYOND * self.scale < metrics.objective < np.inf:
            return f"the objective is {metrics.objective:.3g}, was {self.scale:.3g} at the start, and rises"
        if self._training == "none" or metrics.consensus <= LOOK * before.looked:
            return ""
        self.watched = self.watched._replace(looked=metrics.consensus)
        own = self._objective(x)
        return f"nodes are ever further apart, their own objectives {own:.3g}" if own > BEYOND * self.scale else ""

    def _objective(self, x: np.ndarray) -> float:
        """Return (1/n) sum_i |f_i(x_i)| at x (hosted, d), or (1, d) for all."""
        values = self.experiment.problem.values(x)
        return float(self.experiment.mean(np.abs(values)[:, None])[0])


def divergence_cure(experiment: Experiment) -> str:
    """Return what is most likely to help against a divergence, judged by the data of this rank."""
    config, features = experiment.config, experiment.shares.features
    largest = abs(features).max(axis=0)
    sizes = np.sort(largest if isinstance(features, np.ndarray) else largest.toarray().ravel())
    if config.data.scale == "none" and sizes[-1] > UNEVEN * max(sizes[len(sizes) // 2], 1e-300):
        uneven = f"features are of very unequal size, up to {sizes[-1]:.3g}"
        return f"{uneven}: try data.scale = 'standard', or a smaller algorithm.step_size"
    return f"{'give' if config.algorithm.step_size == 'auto' else 'try'} a smaller algorithm.step_size"
