"""Federated averaging on two levels: often within regions, and now and then between them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mpiqopt.algorithms.algorithm import PositiveInt
from mpiqopt.algorithms.fedavg import FedAvg
from mpiqopt.algorithms.federated_plan import Plan
from mpiqopt.algorithms.federated_round import FederatedRound, State
from mpiqopt.algorithms.federated_uploads import Heard
from mpiqopt.emulation.settings import Emulate
from mpiqopt.errors import UsageError
from mpiqopt.federation.regions import region_of
from mpiqopt.field import Field
from mpiqopt.network.network import Network
from mpiqopt.network.server_round import ServerRound
from mpiqopt.placement.shared_rows import shared_rows
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams
from mpiqopt.topologies.topology import Topology


@register("algorithm", "hierarchical-fedavg")
@dataclass(frozen=True, kw_only=True)
class HierarchicalFedAvg(FedAvg):
    """Each region r has a server of its own, and a model x_r, with which its clients do rounds of FedAvg:

        x_r+ = x_r + a_g mean of the updates of its clients;   every ``global_every`` rounds all x_r become their mean,

    weighted as the clients of each region together; that mean is what is recorded. Messages within a region use the
    links ``emulate.bandwidth``, those between regions, 2 (R - 1) of them, ``emulate.region_bandwidth``.
    Source: Liu, Zhang, Song, Letaief, "Client-edge-cloud hierarchical federated learning", ICC 2020.
    """

    in_regions = True

    regions: Annotated[
        PositiveInt | list[Annotated[int, Field(ge=0)]],
        Field(description="how many regions, of equally many consecutive nodes, or the region 0, 1, ... of each node"),
    ] = 2
    global_every: Annotated[
        PositiveInt, Field(description="rounds within regions from one average between them to the next")
    ] = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.personal:
            raise UsageError("algorithm.personal: 'hierarchical-fedavg' averages all layers; want none, or fedavg")

    def region_of(self, nodes: int) -> np.ndarray:
        """Return the region of each node, int64 (nodes,); a single node has one region."""
        return region_of(nodes, 1 if nodes == 1 else self.regions)

    def require(self, topology: Topology, regularizer: str) -> None:
        super().require(topology, regularizer)
        self.region_of(topology.nodes)

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        state, regions = super().init(x, problem, network, rng), int(self.region_of(network.place.nodes).max()) + 1
        errors = shared_rows(np.zeros(regions * x.shape[1], x.dtype), len(x)) if len(state.server_error) else ()
        return state._replace(common=shared_rows(np.tile(x[0], regions), len(x)), server_error=errors)

    def server_rounds(self, problem: Problem, network: Network, seed: int, rounds: int) -> Iterator[ServerRound]:
        groups = self.region_of(network.place.nodes)
        for t, each in enumerate(super().server_rounds(problem, network, seed, rounds)):
            if self.averages_after(t):
                seconds = each.seconds + between_seconds(network.emulate, each.values * problem.dtype.itemsize)
                each = each._replace(between=2 * int(groups.max()), seconds=seconds)
            yield each._replace(groups=groups)

    def averages_after(self, t: int) -> bool:
        """Return True if round t ends with the average between regions."""
        return (t + 1) % self.global_every == 0

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        return RegionalRound(self, state, problem, network, rng).run()


class RegionalRound(FederatedRound):
    """A round in all regions, and the average between them when it is due."""

    method: HierarchicalFedAvg

    def __init__(self, method: HierarchicalFedAvg, state: State, problem: Problem, network: Network, streams: Streams):
        super().__init__(method, state, problem, network, streams)
        self.region = self.groups = method.region_of(network.place.nodes)
        weights = np.bincount(self.region, weights=method.weights(problem.all_sizes))
        self.weights = (weights / weights.sum()).astype(problem.dtype)[:, None]
        self.models = state.common[0].reshape(len(weights), -1)

    def _start(self, i: int) -> np.ndarray:
        return self.models[self.region[self.network.place.first + i]]

    def _download(self, plan: Plan) -> None:
        if not self.method.two_way:
            for region, model in enumerate(self.models):
                self._spread(region, plan, model, coded=False)

    def _spread(self, region: int, plan: Plan, vector: np.ndarray, coded: bool) -> np.ndarray:
        """Send a vector to those of a region who receive one: return what they hear."""
        members, head = plan.receivers[self.region[plan.receivers] == region], int(np.argmax(self.region == region))
        return self.network.server.cohort.spread_to(vector, members, coded, server=head, wait=False)

    def _serve(self, heard: Heard, plan: Plan) -> State:
        method, state, mean = self.method, self.state, heard.mean
        models = self.models.copy()
        for region in np.unique(self.region[plan.senders]).tolist():
            models[region], _ = method.serve(models[region], self.damping * mean[region], self.moving, ())
        together = np.add.reduce(self.weights * models, axis=0)
        seconds = plan.arrivals.seconds
        if method.averages_after(state.t):
            models[:] = together
            seconds += self._average_regions(together)
        after = self._advanced(plan, seconds)
        if method.two_way:
            models, after = self._announce_models(models, plan, after)
            together = np.add.reduce(self.weights * models, axis=0)
        hosted = len(state.x)
        return after._replace(x=shared_rows(together, hosted), common=shared_rows(models.ravel(), hosted))

    def _average_regions(self, x: np.ndarray) -> float:
        """Count the messages between regions, up and down, and return their emulated seconds."""
        heads = np.unique(self.region, return_index=True)[1]
        for _ in ("up", "down"):
            self.network.server.cohort.spread_to(x, heads, wait=False)
        return between_seconds(self.network.emulate, x.nbytes)

    def _announce_models(self, models: np.ndarray, plan: Plan, after: State) -> tuple[np.ndarray, State]:
        """Send each region the coded change of its model: return the models (regions, d) that they have then."""
        change = models - self.models
        if self.feedback:
            change += after.server_error[0].reshape(change.shape)
        heard = np.array([self._spread(r, plan, each, self.network.coded) for r, each in enumerate(change)])
        heard *= self.damping
        if self.feedback:
            after = after._replace(server_error=shared_rows((change - heard).ravel(), len(after.x)))
        return self.models + heard, after


def between_seconds(emulate: Emulate, nbytes: int) -> float:
    """Return the emulated seconds of an average between regions: a message of so many bytes up and one down."""
    return 2 * (emulate.delay + nbytes / (emulate.region_bandwidth or emulate.bandwidth or np.inf))
