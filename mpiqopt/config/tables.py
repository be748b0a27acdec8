"""The tables of a config that are no family of parts, [run], [record] and [checkpoint], and the names of all tables."""

from dataclasses import dataclass
from typing import Annotated, Literal

from mpiqopt.emulation.devices import DeviceClass
from mpiqopt.emulation.settings import Emulate
from mpiqopt.errors import UsageError
from mpiqopt.field import Field, only, unless

# Values of run.start that are not the name of a result file.
DRAWN_STARTS = ("auto", "zero", "normal")


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run as a whole.

    ``seed``, ``dtype`` and ``start`` decide the trajectory, with all other tables but [record] and [checkpoint]. The
    limits decide how much of it there is; a run that has ended at one goes on with ``--resume`` and another.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of everything that is drawn")] = 0
    iterations: Annotated[int, Field(ge=0, description="iterations to do")] = 1000
    time_limit: Annotated[
        float | None,
        Field(gt=0, description="seconds after which the run stops with a checkpoint (exit status 75)"),
    ] = None
    tolerance: Annotated[
        float | None,
        Field(gt=0, description="the run is finished when a record is at most this; of what, says tolerance_on"),
    ] = None
    tolerance_on: Annotated[
        Literal["nodes", "mean"],
        Field(
            description="nodes: stationarity + L^2 consensus, L the largest smoothness constant of a node (the paper's "
            "criterion, up to a factor); mean: stationarity of the mean iterate alone",
            needs=(
                unless("tolerance", None),
                only("algorithm.common_point", False, "nodes share one point"),
            ),
        ),
    ] = "nodes"
    stop_accuracy: Annotated[
        float | None, Field(gt=0, le=1, description="the run is finished when the recorded accuracy is at least this")
    ] = None
    stop_gap: Annotated[
        float | None, Field(gt=0, description="the run is finished when objective - optimum is at most this")
    ] = None
    optimum: Annotated[
        float | None, Field(description="for stop_gap: the smallest value of F + h, from a longer run or a solver")
    ] = None
    stop_bytes: Annotated[
        float | None,
        Field(gt=0, description="the run is finished when nodes have sent so many bytes, at the next record"),
    ] = None
    dtype: Annotated[
        Literal["auto", "float64", "float32"],
        Field(description="type of iterates and messages; auto: float32 for networks, else float64"),
    ] = "auto"
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(
            description="where networks are computed; auto: on a GPU if PyTorch finds one. Ranks of a host take its "
            "GPUs in turn",
            needs=(only("problem.name", "torch"),),
        ),
    ] = "auto"
    transport: Annotated[
        Literal["auto", "window", "two-sided"],
        Field(
            description="of coordination by mailboxes: one-sided MPI windows or two-sided messages; auto: windows "
            "within a host if a short measurement finds that they do not wait for ranks that compute, else messages",
            needs=(only("algorithm.tolerates_loss", True, "no mailboxes are used"),),
        ),
    ] = "auto"
    start: Annotated[
        str,
        Field(
            description="auto: zero, or for networks the initial parameters that the model draws; zero; normal: one "
            "draw from N(0, I/d) for all nodes; an earlier result file, whose mean of /final/x is the start; or a .npy "
            "file, (d,) for all nodes or (nodes, d) with a row for each"
        ),
    ] = "auto"

    def __post_init__(self) -> None:
        """Raise UsageError unless ``stop_gap`` and ``optimum`` are both given, or neither."""
        if (self.stop_gap is None) != (self.optimum is None):
            given, lacking = ("stop_gap", "optimum") if self.optimum is None else ("optimum", "stop_gap")
            raise UsageError(f"run.{given} = {getattr(self, given)!r}: wants run.{lacking}, too")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is measured on the way.

    Recording is not timed, sends nothing that is counted, and does not change the trajectory.
    """

    every: Annotated[
        int, Field(ge=1, description="iterations between records (the first and last are recorded too)")
    ] = 10
    training: Annotated[
        Literal["gradient", "value", "none"],
        Field(
            description="what is measured over all training samples: gradient: /objective and /stationarity; value: "
            "/objective alone, some three times cheaper; none: neither, for networks whose held-out samples say enough"
        ),
    ] = "gradient"
    mapping_step: Annotated[
        float,
        Field(
            gt=0,
            description="step of the gradient mapping in /stationarity",
            needs=(only("training", "gradient"),),
        ),
    ] = 1.0
    per_node: Annotated[
        bool,
        Field(
            description="record /criterion, (1/n) sum |s(x_i)|^2 + L^2 consensus, at the price of n global gradients"
        ),
    ] = False

    def __post_init__(self) -> None:
        """Raise UsageError if gradients of nodes are to be recorded, and none of the training samples."""
        if self.per_node and self.training != "gradient":
            raise UsageError(f"record.per_node = true: wants record.training = 'gradient', not {self.training!r}")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """How often a checkpoint is written, so that a killed job can resume.

    One is also written at the start, when the run ends or is stopped, and after an iteration that takes very long.
    """

    every_seconds: Annotated[float, Field(gt=0, description="seconds between checkpoints")] = 60.0


# Tables that one class describes; those of the families below have a key ``name`` that selects the class.
PLAIN_TABLES = {"run": Run, "record": Record, "checkpoint": Checkpoint, "emulate": Emulate}
# Those of which there may be any number, [[devices]]; their order counts.
LIST_TABLES = {"devices": DeviceClass}
FAMILY_TABLES = ("data", "problem", "regularizer", "topology", "algorithm", "compressor")
# Families of which a config names exactly one member: of graphs there may be a list, [[topology]].
SINGLE_TABLES = tuple(family for family in FAMILY_TABLES if family != "topology")
