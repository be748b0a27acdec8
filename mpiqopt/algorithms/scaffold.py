"""SCAFFOLD: control variates against the drift of clients."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.algorithms.fedavg import FedAvg
from mpiqopt.algorithms.federated_round import State
from mpiqopt.errors import UsageError
from mpiqopt.network.network import Network
from mpiqopt.placement.shared_rows import shared_rows
from mpiqopt.problems.client_training import Trained
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


@register("algorithm", "scaffold")
@dataclass(frozen=True, kw_only=True)
class Scaffold(FedAvg):
    """K local steps  y_i -= a (g_i(y_i) - c_i + c),  then  c_i+ = c_i - c + (x - y_i)/(K a).

        x+ = x + a_g mean over clients of the round of (y_i - x),   c+ = c + (|S|/N) mean of (c_i+ - c_i)

    |S| of N clients take part in a round. Messages have two vectors each way. With full batches its limit is the
    optimum of F, however unlike the clients are. Clients use plain SGD: c_i is what their steps were, divided by a.
    Source: Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: stochastic controlled averaging for federated
    learning", ICML 2020, Algorithm 1 with option II.
    """

    exact = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, wanted in (("optimizer", "sgd"), ("momentum", 0.0), ("weight_decay", 0.0)):
            if getattr(self, key) != wanted:
                raise UsageError(f"algorithm.{key} = {getattr(self, key)!r}: 'scaffold' wants {wanted!r}")
        if self.rollback and self.applies_late:
            raise UsageError(
                "algorithm.rollback = true: 'scaffold' cannot take back what late clients keep; want late = 'discard'"
            )
        if self.personal:
            raise UsageError("algorithm.personal: 'scaffold' corrects all layers; want none, or fedavg")

    def sent(self, travelling: int) -> int:
        return 2 * travelling

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        nothing = shared_rows(np.zeros_like(x[0]), len(x))
        return super().init(x, problem, network, rng)._replace(common=nothing, own=np.zeros(x.shape, x.dtype))

    def correction(self, i: int, state: State) -> np.ndarray:
        return state.common[0] - state.own[i]

    def payload(self, i: int, moved: np.ndarray, trained: Trained, state: State, after: State) -> np.ndarray:
        # y_i - x = -a sum (g - c_i + c): the mean gradient of the steps is the new c_i
        change = -state.common[0] - moved / (trained.steps * self.step_at(state.t))
        after.own[i] = state.own[i] + change
        return np.concatenate([moved, change])

    def receive(
        self, mean: np.ndarray, x: np.ndarray, moving: int, share: float, state: State
    ) -> tuple[np.ndarray, State]:
        common = state.common[0] + share * mean[len(x) :]
        return super().receive(mean, x, moving, share, state._replace(common=shared_rows(common, len(state.x))))

    def known(self, x: np.ndarray, state: State) -> np.ndarray:
        return np.concatenate([x, state.common[0]])

    def learn(self, known: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        x, common = np.split(known, 2)
        return x, state._replace(common=shared_rows(common, len(state.x)))
