"""The base class of methods whose nodes train by an optimiser of their own between messages."""

from dataclasses import dataclass
from typing import Annotated, Literal

from mpiqopt.algorithms.algorithm import BatchSize, Facts
from mpiqopt.algorithms.stochastic import Scheduled
from mpiqopt.field import Field, only, unless
from mpiqopt.problems.client_training import Work
from mpiqopt.problems.local_optimizers import LocalOptimizer

ADAMW_STEP = 1e-3
# Keys that methods have with other defaults.
LocalSteps = Annotated[
    int,
    Field(
        ge=0,
        description="gradient steps of a client in a round, each on batch_size samples drawn with replacement, in "
        "the place of local_epochs; 0: by local_epochs",
    ),
]
ClientOptimizer = Annotated[
    Literal["sgd", "adamw"], Field(description="of the clients, with step_size (PyTorch's formulas)")
]
Momentum = Annotated[float, Field(ge=0, lt=1, description="of the clients' optimiser; beta_1 of adamw")]
WeightDecay = Annotated[
    float, Field(ge=0, description="of the clients' optimiser: added to the gradient by sgd, decoupled in adamw")
]
KeepOptimizer = Annotated[
    bool,
    Field(description="clients keep what their optimiser remembers from round to round; false: it starts anew"),
]


@dataclass(frozen=True, kw_only=True)
class LocalOptimization(Scheduled):
    """A method with the keys of an optimiser on a batch's gradient."""

    batch_size: BatchSize = "all"
    optimizer: ClientOptimizer = "sgd"
    momentum: Momentum = 0.0
    nesterov: Annotated[
        bool,
        Field(
            description="Nesterov's form of the clients' momentum",
            needs=(only("optimizer", "sgd"), unless("momentum", 0.0)),
        ),
    ] = False
    second_momentum: Annotated[
        float, Field(gt=0, lt=1, description="beta_2 of adamw", needs=(only("optimizer", "adamw"),))
    ] = 0.999
    weight_decay: WeightDecay = 0.0

    def smoothness(self, facts: Facts) -> float:
        return facts.smoothness(self.batch_size)

    def automatic_from_data(self) -> list[str]:
        """Return ``Algorithm.automatic_from_data``: AdamW's step has the size of x, whatever the gradients'."""
        return [key for key in super().automatic_from_data() if key != "step_size" or self.optimizer == "sgd"]

    def largest_stable_step(self, facts: Facts) -> float | None:
        """Return that of gradient descent; None for AdamW."""
        return super().largest_stable_step(facts) if self.optimizer == "sgd" else None

    def automatic_step(self, facts: Facts) -> float:
        """Return ``Algorithm.automatic_step``; PyTorch's default for AdamW."""
        return super().automatic_step(facts) if self.optimizer == "sgd" else ADAMW_STEP

    def local_optimizer(self, t: int) -> LocalOptimizer:
        """Return the optimiser of iteration t."""
        return LocalOptimizer(
            self.optimizer, self.step_at(t), self.momentum, self.nesterov, self.weight_decay, self.second_momentum
        )


@dataclass(frozen=True, kw_only=True)
class LocalTraining(LocalOptimization):
    """A method with the keys of local training: how long, on which batches, by which optimiser."""

    local_epochs: Annotated[
        int,
        Field(
            ge=1,
            description="passes of a client over its samples in a round, each in an order of its own, in batches of "
            "batch_size without replacement",
            needs=(only("local_steps", 0),),
        ),
    ] = 1
    local_steps: LocalSteps = 0
    keep_optimizer: KeepOptimizer = False

    def work(self, t: int) -> Work:
        """Return what a client does in round t."""
        batch = 0 if self.batch_size == "all" else self.batch_size
        return Work(self.local_optimizer(t), batch, 0 if self.local_steps else self.local_epochs, self.local_steps)
