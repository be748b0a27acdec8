"""Training on the union of all samples: what methods that leave data where they are can be compared with."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mpiqopt.algorithms.local_training import LocalOptimization
from mpiqopt.network.network import Network
from mpiqopt.network.server_round import ServerRound
from mpiqopt.placement.shared_rows import shared_rows
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams, random_stream


class State(NamedTuple):
    """x: (hosted, d), one row for all; first, second: what the optimiser keeps, likewise, or (); t: steps done."""

    x: np.ndarray
    first: Any
    second: Any
    t: int


@register("algorithm", "centralized")
@dataclass(frozen=True, kw_only=True)
class Centralized(LocalOptimization):
    """A step of SGD or AdamW on a batch of the union of all nodes' samples, as if they were in one place.

        x+ = optimiser's step along  g = mean gradient over ``batch_size`` samples, whosever they are

    In epochs: every sample comes once, in a random order, before any comes again. Samples stay where they are: nodes
    evaluate those of the batch that are theirs, and the bytes are those of minibatch SGD. The objective is that of the
    union, F weighted by samples.
    """

    proximal = False
    augments = True
    server = True
    common_point = True
    one_row = True

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        kept = [shared_rows(each, len(x)) for each in self.local_optimizer(0).begin(x[0])]
        first, second = (*kept, (), ())[:2]
        return State(shared_rows(x[0], len(x)), first, second, 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        drawn, own = self._batch(state.t, problem, network, rng.seed)
        members = np.unique(drawn)
        counts = np.bincount(drawn)[members].astype(float)
        server, trainer = network.server.cohort, problem.client_trainer(rng)
        server.spread_to(state.x[0], members)
        uploads = server.begin(members, counts, False, problem.d, problem.dtype)
        for node in uploads.hosted.tolist():
            i = node - network.place.first
            uploads.add(node, trainer.gradient(i, state.x[0], own[drawn == node], state.t))
        return self._moved(state, uploads.finish(), trainer.weights)

    def server_rounds(self, problem: Problem, network: Network, seed: int, rounds: int) -> Iterator[ServerRound]:
        for t in range(rounds):
            drawn, _ = self._batch(t, problem, network, seed)
            members = np.unique(drawn)
            yield ServerRound(members, members, problem.d, np.ones_like(members), len(drawn))

    def _batch(self, t: int, problem: Problem, network: Network, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the node of each sample of a batch, and its position among the node's samples, int64 (k,) each."""
        ends = np.cumsum(problem.all_sizes)
        total = int(ends[-1])
        size = total if self.batch_size == "all" else min(self.batch_size, total)
        epoch, batch = divmod(t, -(-total // size))
        drawn = _order(seed, network.place.nodes, epoch, total)[batch * size : (batch + 1) * size]
        nodes = np.searchsorted(ends, drawn, side="right")
        return nodes, drawn - (ends - problem.all_sizes)[nodes]

    def _moved(self, state: State, gradient: np.ndarray, weights: int) -> State:
        """Return the state after the optimiser's step; the coordinates after ``weights`` are running statistics."""
        hosted, point = len(state.x), state.x[0].copy()
        kept = [rows[0].copy() for rows in (state.first, state.second) if len(rows)]
        point[weights:] -= gradient[weights:]
        own = [each[:weights] for each in kept]
        self.local_optimizer(state.t).move(point[:weights], gradient[:weights], own, state.t)
        first, second = (*(shared_rows(each, hosted) for each in kept), (), ())[:2]
        return State(shared_rows(point, hosted), first, second, state.t + 1)


@lru_cache(maxsize=2)
def _order(seed: int, nodes: int, epoch: int, samples: int) -> np.ndarray:
    """Return the order of all samples in an epoch, int64 (samples,)."""
    return random_stream(seed, "order", nodes, epoch).permutation(samples)
