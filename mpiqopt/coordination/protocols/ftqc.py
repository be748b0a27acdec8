"""Finite-time quantised coordination."""

from math import log
from typing import Any

from mpiqopt._coordination import Rules, SplitRules
from mpiqopt.coordination.costs import VOTES, Call, Network, failed_vote_bytes, packed_frame_bytes
from mpiqopt.coordination.protocol import FrameProtocol
from mpiqopt.coordination.wiring import Wiring
from mpiqopt.registry import register


@register("coordinator", "ftqc")
class FTQC(FrameProtocol):
    """y_i = 2 v_i, z_i = 2; steps send pieces (floor(y_i/z_i), 1) to random out-neighbours; done when ratios agree.

    v_i are the integers of node i. A node with z_i > 1 splits off pieces until one is left. The sums of y and z over
    nodes and links stay 2S and 2n, and pieces that meet are averaged, until every y_i/z_i lies between floor(S/n) and
    ceil(S/n), for any S. Nodes need to know the diameter or a bound. Integers on the way are no larger than 2 sum
    |v_i|, hence the headroom.

    References
    ----------
    Bastianello, Rikos, Johansson, arXiv 2408.17156 and 2307.06620. The vote that finds out that it is done is ours.
    """

    headroom = 2.0**61
    bytes_per_value = 16
    votes = True

    def rules(self, wiring: Wiring, overlay: Any, d: int, seed: int) -> Rules:
        return SplitRules(d, seed)

    def cost(self, network: Network, d: int, spread: float) -> Call:
        """Pieces are random walks that meet and are averaged: steps grow like the relaxation time and log(spread).

        On well connected graphs the last pieces decide, which have to meet one by one.
        """
        rate = max(1.0, 3 * log(spread) + 1.2 * log(d) - 3)
        steps = network.forgetting * rate + min(network.nodes / 5, 6) * (9 + 8 * log(d))
        # of 2 n pieces n stay where they are, and one of degree + 1 comes back to its node
        pieces = steps * network.arcs / (network.arcs / network.nodes + 1)
        good = network.diameter * network.arcs * (packed_frame_bytes(d, spread) + d / 8)
        return Call(
            steps + VOTES * network.diameter,
            pieces,
            pieces * packed_frame_bytes(d, spread) + good + VOTES * failed_vote_bytes(network),
        )
