"""SGD with error feedback."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.coded import compressor_delta
from mpiqopt.algorithms.compressed_sgd import CompressedSGD
from mpiqopt.network.network import Network
from mpiqopt.problems.problem import Problem
from mpiqopt.registry import register
from mpiqopt.streams import Streams


class State(NamedTuple):
    """x: iterate (hosted, d), equal rows; t: iterations done.

    error: what each node has not sent yet (hosted, d). server_error: of the parts of the vector that this rank serves,
    what the nodes have not been told yet.
    """

    x: np.ndarray
    error: np.ndarray
    server_error: np.ndarray
    t: int


@register("algorithm", "ef-sgd")
@dataclass(frozen=True, kw_only=True)
class EFSGD(CompressedSGD):
    """p_i = e_i + a g_i, c_i = C(p_i), e_i+ = p_i - c_i;  x+ = prox_{a h}(x - mean_i c_i).

    With ``two_way`` the server does so too: p = e + mean_i c_i, c = C(p), e+ = p - c, x+ = prox_{a h}(x - c). C is
    damped to a contraction where it is unbiased. All nodes have the same x; the topology is not used.
    Source: Karimireddy, Rebjock, Stich, Jaggi, "Error feedback fixes SignSGD and other gradient compression schemes",
    ICML 2019; two ways: Zheng, Huang, Kwok, "Communication-efficient distributed blockwise momentum SGD with
    error-feedback", NeurIPS 2019.
    """

    default_compressor = "scaled-sign"

    def automatic_step(self, facts: Facts) -> float:
        """Return min(1/2, 2 delta)/L one way, and min(1/5, delta)/L(F) two ways.

        L is the largest L_i times its slack, L(F) the curvature of F as observed, and delta that of the compressor on
        usual vectors. On least squares one way was stable to 2 delta/L and more, two ways to delta/L (random-k,
        flattened-one-bit) or 1/(5L) (scaled-sign, top-k). Never less than 1/2 and min(1/2, the worst delta) of the
        largest L_i (ours).
        """
        delta = 0.5 if facts.usual_delta is None else facts.usual_delta
        noise = facts.noise(self.batch_size, 1 / facts.topology.nodes)
        if self.two_way:
            bold, cautious = min(0.2, delta) / self.smoothness(facts), min(0.5, compressor_delta(facts))
        else:
            bold, cautious = min(0.5, 2 * delta) / (facts.slack * facts.lipschitz + noise), 0.5
        return max(bold, cautious / (facts.lipschitz + noise))

    def init(self, x: np.ndarray, problem: Problem, network: Network, rng: Streams) -> State:
        return State(x, np.zeros_like(x), network.server.parts(np.zeros_like(x[0])), 0)

    def step(self, state: State, problem: Problem, network: Network, rng: Streams) -> State:
        step = self.step_at(state.t)
        wanted = state.error + step * self.gradient(state.x, state.t, problem, rng)
        damping = network.codec(wanted).damping
        parts, sent = network.server.collect(wanted, echo=True)
        parts = state.server_error + damping * parts
        change = network.server.spread(parts, problem.d, self.two_way)
        if self.two_way:
            change *= damping
        x = problem.prox(state.x[:1] - change, step)
        x = np.repeat(x, len(state.x), axis=0)
        return State(x, wanted - damping * sent, parts - network.server.parts(change), state.t + 1)
