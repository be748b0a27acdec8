"""Finite-time quantised coordination without votes."""

from typing import Any

from mpiqopt._coordination import PenRules, Rules
from mpiqopt.coordination.costs import Call, Network, packed_frame_bytes
from mpiqopt.coordination.protocol import FrameProtocol
from mpiqopt.coordination.wiring import Wiring
from mpiqopt.registry import register


@register("coordinator", "pen")
class Pen(FrameProtocol):
    """FTQC's pieces, and no vote: after some steps the node that holds the pen says m = round(y/z) of what it has.

    In call k that is node k mod n, and m is flooded: each node tells its out-neighbours once. Every node keeps
    R_i = (y_i - m z_i)/2, so that sum_i (q_i - R_i) = n m whatever m is: the mean is exact in the limit, and no call
    has to find it. For innovations in lock-step. Nodes need to know n and D, the diameter or a bound. Source: ours.
    """

    headroom = 2.0**61
    bytes_per_value = 16
    finds_sum = False
    by_mailboxes = False

    def rules(self, wiring: Wiring, overlay: Any, d: int, seed: int) -> Rules:
        return PenRules(d, seed, mixing_steps(wiring.diameter))

    def steps(self, wiring: Wiring, overlay: Any) -> int | None:
        return mixing_steps(wiring.diameter) + wiring.diameter

    def cost(self, network: Network, d: int, spread: float) -> Call:
        """Pieces are those of FTQC; all nodes but those that hear m in the last step tell it."""
        steps = mixing_steps(network.diameter)
        pieces = steps * network.arcs / (network.arcs / network.nodes + 1) + network.arcs
        return Call(steps + network.diameter, pieces, pieces * packed_frame_bytes(d, spread))


def mixing_steps(diameter: int) -> int:
    """Return the steps before m is said (as measured: docs/coordination.md).

    >>> [mixing_steps(diameter) for diameter in (1, 3, 9, 32)]
    [4, 4, 7, 24]
    """
    return max(4, -(-3 * diameter // 4))
