"""Integer push-sum: equal shares to all out-neighbours, with momentum."""

import math
from typing import Any, NamedTuple

import numpy as np

from mpiqopt._coordination import WEIGHTED_HEADROOM, Rules, ShareRules
from mpiqopt.coordination.costs import HEADER, Call, Network, packed_frame_bytes
from mpiqopt.coordination.protocol import FrameProtocol
from mpiqopt.coordination.wiring import Wiring
from mpiqopt.errors import UsageError
from mpiqopt.registry import register
from mpiqopt.topologies.topology import Topology

# steps of the power method for the stationary distribution; to a factor of 2 is enough
POWER_STEPS = 1000
# the larger it is, the less headroom is left for integers
LARGEST_UNIT = 1 << 40
# nodes of which all eigenvalues are found at once
DENSE = 400


class Weights(NamedTuple):
    """Of integer push-sum: unit, what integers are multiplied by; start, z of all nodes, int64 (nodes,); momentum."""

    unit: int
    start: np.ndarray
    momentum: float


@register("coordinator", "integer-push-sum")
class IntegerPushSum(FrameProtocol):
    """y_i = U v_i; steps give equal shares of y_i and z_i to all out-neighbours; done when Z y_i/(U z_i) rounds to S.

    v_i are the integers of node i, Z is the sum of all z, U a power of two so large that roundings cannot hinder the
    agreement. S, the mean of the ratios weighted by z, lies between the smallest and the largest: where all round to s,
    S = s. Rounding what it gives costs a node with d neighbours up to d/2 units of y, and momentum hands errors on;
    wanted is Z y/(U z) to 1/2, where z goes to Z pi, pi the stationary distribution: hence U >= c max (d + 1)/pi. On
    undirected graphs this is c Z; pi is known, z begins there and stays. The eigenvalues are then real, and momentum
    makes up for those close to 1: with the second largest eigenvalue s the error goes with 1 - sqrt(1 - s) a step
    instead of s, which is the square root of the momentum. c = 6 + 2/(1 - momentum) is by experience: on rings, paths,
    stars, lollipops, barbells, random and complete graphs of up to 200 nodes all nodes agreed, and went on to.

    References
    ----------
    Ours. Momentum is the heavy ball of Polyak (1964), applied to what travels on each link, which keeps the sum.
    """

    headroom = WEIGHTED_HEADROOM
    bytes_per_value = 16
    votes = True

    def require(self, topology: Topology) -> None:
        if topology.directed:
            self.overlay(topology)

    def overlay(self, topology: Topology) -> Weights:
        return weights(topology)

    def gain(self, overlay: Weights) -> int:
        return power_of_two(overlay.unit * (4 / (1 - overlay.momentum) if overlay.momentum else 1))

    def rules(self, wiring: Wiring, overlay: Any, d: int, seed: int) -> Rules:
        own = overlay.start[wiring.first : wiring.first + len(wiring.in_starts) - 1].copy()
        return ShareRules(d, overlay.unit, own, int(overlay.start.sum()), overlay.momentum)

    def cost(self, network: Network, d: int, spread: float) -> Call:
        """Predict one of the first calls; on undirected graphs momentum takes the root of the time."""
        forgetting = network.forgetting
        steps = (2 * forgetting - 1 if network.directed else math.sqrt(forgetting)) * (7 + 0.9 * math.log(spread)) + 6
        return _call(network, d, spread, steps)

    def settling_cost(self, network: Network, d: int, spread: float) -> Call:
        """Predict one of many calls, which have found out how few steps they need.

        What nodes differ by falls by a factor of e in some steps, from about the sum of all z, times spread, to 1.
        """
        kept = 1 - (1 / network.forgetting if network.directed else math.sqrt(1 / network.forgetting))
        fading = max(-1 / math.log(kept) if kept else 0.0, 0.7)
        steps = 1 + fading * (1.25 * math.log(_total(network)) + 1.4 * math.log(spread))
        return _call(network, d, spread, steps)


def _total(network: Network) -> float:
    """Return the sum of all z, or about that on digraphs, in units of the smallest."""
    return 10 * network.nodes if network.directed else network.arcs + network.nodes


def _call(network: Network, d: int, spread: float, steps: float) -> Call:
    """Predict a call with so many steps."""
    degree = 1 + network.arcs / network.nodes
    momentum = 0.0 if network.directed else min((1 - math.sqrt(1 / network.forgetting)) ** 2, 255 / 256)
    unit = _total(network) * (6 + 2 / (1 - momentum))
    pieces = steps * network.arcs
    size = packed_frame_bytes(d, 1.5 * unit * spread / degree / (1 - momentum))
    vote = network.diameter * network.arcs * (HEADER + 2 + (packed_frame_bytes(d, spread) if d <= 4 else 10))
    return Call(steps + network.diameter, pieces, pieces * size + vote)


def weights(topology: Topology) -> Weights:
    """Return U, the z to begin with and the momentum of a network.

    Raises UsageError if a node's share pi is so small that U leaves no headroom for integers.
    """
    nodes, arcs = topology.nodes, topology.arcs()
    degree = 1 + np.bincount(arcs[:, 0], minlength=nodes)
    if topology.directed:
        unit = power_of_two((np.maximum(64, 8 * degree) / _stationary(arcs, degree)).max())
        if unit > LARGEST_UNIT:
            raise UsageError(
                f"algorithm.coordinator = 'integer-push-sum': a node of {topology.name!r} would hardly get a share of "
                "anything (arcs lead away from it much more often than to it); want 'ftqc'"
            )
        return Weights(unit, np.full(nodes, unit), 0.0)
    root = 1 - math.sqrt(1 - min(max(_second_eigenvalue(arcs, degree), 0.0), 1.0))
    # rounded, so that ranks on different machines have the same, also where root is a simple fraction
    momentum = min(round(256 * root**2), 255) / 256
    return Weights(power_of_two(degree.sum() * (6 + 2 / (1 - momentum))), degree, momentum)


def power_of_two(least: float) -> int:
    """Return the smallest power of two that is at least ``least`` >= 1."""
    mantissa, exponent = math.frexp(least)
    return 1 << exponent - (mantissa == 0.5)


def _stationary(arcs: np.ndarray, degree: np.ndarray) -> np.ndarray:
    """Return pi, what equal shares lead to, (nodes,)."""
    nodes = len(degree)
    share = np.full(nodes, 1 / nodes)
    for _ in range(POWER_STEPS):
        sent = share / degree
        share, before = sent + np.bincount(arcs[:, 1], sent[arcs[:, 0]], minlength=nodes), share
        if np.abs(share - before).max() < 1e-3 * share.min():
            break
    return share


def _second_eigenvalue(arcs: np.ndarray, degree: np.ndarray) -> float:
    """Return that of equal shares on an undirected graph, which are similar to a symmetric matrix."""
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.linalg import eigsh

    nodes = len(degree)
    links = csr_array((np.ones(len(arcs)), (arcs[:, 0], arcs[:, 1])), shape=(nodes, nodes))
    scale = diags_array(1 / np.sqrt(degree))
    shares = scale @ (links + diags_array(np.ones(nodes))) @ scale
    if nodes <= DENSE:
        return float(np.linalg.eigvalsh(shares.toarray())[-2])
    start = np.random.default_rng(0).standard_normal(nodes)
    return float(eigsh(shares.tocsc(), 2, sigma=1 + 1e-9, which="LM", v0=start, return_eigenvectors=False).min())
