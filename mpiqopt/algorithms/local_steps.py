"""The base class of decentralised methods that take several gradient steps between two gossips.

>>> from mpiqopt.algorithms.dgd import DGD
>>> from mpiqopt.contracts.algorithm import small_experiment, state_after
>>> made = small_experiment(DGD(step_size=0.1, local_steps=3))
>>> state = state_after(made, 4)  # four rounds of gossip, twelve gradients
>>> made.network.traffic.rounds, made.problem.evaluations // made.problem.sizes
(4, array([12, 12, 12, 12, 12, 12, 12, 12]))
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts, PositiveInt
from mpiqopt.algorithms.stochastic import Minibatch
from mpiqopt.field import Field
from mpiqopt.problems.problem import Problem
from mpiqopt.streams import Streams
from mpiqopt.topologies.topology import Topology


@dataclass(frozen=True, kw_only=True)
class WithLocalSteps(Minibatch):
    """A method whose iteration is k = ``local_steps`` gradient steps, of which the last comes with the gossip.

    The others are taken by every node alone, so that a gradient costs 1/k of the bytes. Nodes drift apart meanwhile,
    about as far as one step of k a with a batch of k b would bring them; automatic steps are chosen for that (ours).
    They save bytes where batches are noisy. With full gradients one step of k a does the same.
    """

    local_steps: Annotated[
        PositiveInt,
        Field(
            description="k, gradient steps of an iteration, each with a batch of its own: k - 1 of every node alone, "
            "then one with the gossip; automatic steps shrink with k, as nodes drift apart meanwhile"
        ),
    ] = 1

    def facts_for_check(self, given: Algorithm, topology: Topology, coded: bool) -> list[tuple[str, str]]:
        inherited = super().facts_for_check(given, topology, coded)
        return [*inherited, ("gradients per iteration", f"{self.local_steps} at each node")]

    def smoothness_of_drift(self, facts: Facts) -> float:
        """Return k L(k b) = k L + (max L_ij - L)/b, which bounds steps as L(b) does for k = 1."""
        return self.local_steps * facts.lipschitz + facts.noise(self.batch_size, 1.0)

    def local_gradient(self, x: np.ndarray, t: int, j: int, problem: Problem, rng: Streams) -> np.ndarray:
        """Return the gradients (hosted, d) of step j = 0, 1, ... of iteration t at the rows x, as ``gradient`` does.

        Every step draws a minibatch of its own, number t k + j.
        """
        return self.gradient(x, t * self.local_steps + j, problem, rng)

    def descend(
        self, x: np.ndarray, steps: int, t: int, step_size: float, problem: Problem, rng: Streams
    ) -> np.ndarray:
        """Return the rows (hosted, d) after the first ``steps`` steps of iteration t without gossip, from the rows x.

        X <- prox_{a h}(X - a G(X)),  a = ``step_size``
        """
        for j in range(steps):
            x = problem.prox(x - step_size * self.local_gradient(x, t, j, problem, rng), step_size)
        return x
