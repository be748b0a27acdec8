"""ADMM whose average is taken by finite-time quantised coordination."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np

from mpiqopt.algorithms.algorithm import Facts, Positive
from mpiqopt.algorithms.ftqc import FTQCAlgorithm, GridStep
from mpiqopt.coordination.innovations import Innovations
from mpiqopt.field import Field
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """The state of FTQC-ADMM; all arrays (hosted, d).

    x: y = prox_{rho h}(u), the same at every node, the iterate that is recorded; local: x_i, where local training goes
    on from; z: z_i; u: the last average of the z_i, the same at every node; t: number of the round; grid: of the next.
    """

    x: np.ndarray
    local: np.ndarray
    z: np.ndarray
    u: np.ndarray
    t: int
    grid: GridStep | Innovations


@register("algorithm", "ftqc-admm")
@dataclass(frozen=True, kw_only=True)
class FTQCADMM(FTQCAlgorithm):
    """Relaxed ADMM with inexact local solves, exact coordination and any set of active nodes.

    Active nodes start at w = x_i with v = 2 y - z_i and take N_e steps w -= a (g_i(w) + (w - v)/rho); then x_i = w,
    z_i += 2 eta (x_i - y), where y is the point that the training began with. In every round
    u = FTQC(z_i, Delta), y = prox_{rho h}(u). Fixed point, for any N_e: x_i = y = x*, z_i = x* - rho grad f_i(x*).
    Our definition, after Fed-LT (arXiv 2403.17572), with the average of arXiv 2307.06620, which calls its own method, a
    gradient method, FTQC-DGD: the name FTQC-ADMM is not from a paper.
    """

    exact = True
    keys_from_data = ("step_size", "penalty")

    penalty: Annotated[
        Positive | Literal["auto"], Field(description="rho of the augmented Lagrangian; auto: 3 local_steps / L")
    ] = "auto"
    relaxation: Annotated[
        float, Field(gt=0, le=1, description="eta; 1/2: classical ADMM, 1: Peaceman-Rachford splitting")
    ] = 0.9

    def resolve(self, facts: Facts) -> Self:
        if self.penalty != "auto":
            return super().resolve(facts)
        return replace(self, penalty=3 * self.local_steps / facts.lipschitz).resolve(facts)

    def automatic_step(self, facts: Facts) -> float:
        """1/(L + 1/rho): the local problem is smooth with this constant."""
        return 1 / (self.smoothness(facts) + 1 / self.penalty)

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(problem.prox(x, self.penalty), x, x, x, 0, self.grid(len(x), x[0]))

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        trained = self.trained(state.local, 2 * state.x - state.z, state, 1 / self.penalty, problem, network, rng)
        active = trained.active[:, None]
        local = np.where(active, trained.points, state.local)
        z = np.where(active, state.z + 2 * self.relaxation * (trained.points - trained.origins), state.z)
        if isinstance(state.grid, Innovations):
            known = self.innovate(z, state.grid, state.t, network)
            u = np.repeat(known.mean[:1], len(z), axis=0).astype(z.dtype)
            grid: GridStep | Innovations = self.refine(known, state.u[0], u[0])
        else:
            u, grid = self.average(z, state.u, state.grid, state.t, trained.active, network)
        return State(problem.prox(u, self.penalty), local, z, u, state.t + 1, grid)
