"""Pairs of nodes that change from round to round."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.errors import UsageError
from mpiqopt.registry import register
from mpiqopt.topologies.graph import Graph
from mpiqopt.topologies.mixing import Mixing, mixing_from_edges

# as many pairs as the largest complete graph has
MOST_NODES = 5000


def tournament(players: int) -> np.ndarray:
    """Return the partners of all players in every round of a tournament, int64 (rounds, players): all play all, once.

    The circle method: one player stays, the others turn around it. An odd number of players have one more round, and a
    player who rests is its own partner.

    >>> tournament(4).tolist()
    [[3, 2, 1, 0], [2, 3, 0, 1], [1, 0, 3, 2]]
    >>> tournament(3).tolist()
    [[0, 2, 1], [2, 1, 0], [1, 0, 2]]
    """
    turning = players - 1 + players % 2
    rounds, player = np.ogrid[:turning, :turning]
    # in round r those whose numbers sum to 2 r meet; r itself meets the one that stays, or rests
    partner = (2 * rounds - player) % turning
    if players % 2:
        return partner
    stays = np.arange(turning)
    partner[stays, stays] = turning
    return np.concatenate([partner, stays[:, None]], axis=1)


@register("topology", "random-pairs")
@dataclass(frozen=True, kw_only=True)
class RandomPairs(Graph):
    """Varies in time: in every round each node averages with one partner, w = 1/2 and 1/2; ``weights`` is not used.

    A random tournament (ours): within n - 1 rounds every pair meets once, in an order that the seed decides, and then
    again. Of an odd number of nodes one rests in each of the n rounds.
    """

    weighted = False

    def size(self) -> float:
        return self.nodes * self.nodes / 2

    def edges(self) -> np.ndarray:
        """Return the pairs of all rounds together: all that there are."""
        return np.stack(np.triu_indices(self.nodes, 1), axis=1)

    def cycle(self) -> list[Mixing]:
        """Return n - 1 matrices, n if that is odd. Raises UsageError for more than 5000 nodes.

        >>> matrices = [W.dense() for W in RandomPairs(nodes=4).cycle()]
        >>> (sum(matrices) / 3).round(6).tolist()[0]  # the mean over all partners
        [0.5, 0.166667, 0.166667, 0.166667]
        """
        if self.nodes > MOST_NODES:
            raise UsageError(
                f"topology.nodes = {self.nodes}: all pairs of more than {MOST_NODES} nodes do not fit in memory; "
                "one-peer-exponential has ceil(log2 n) partners for each node"
            )
        draw = np.random.default_rng(self.seed)
        rounds, label = draw.permutation(tournament(self.nodes)), draw.permutation(self.nodes)
        pairs = [np.stack([label, label[partner]], axis=1) for partner in rounds]
        return [mixing_from_edges(self.nodes, edges, "metropolis") for edges in pairs]
