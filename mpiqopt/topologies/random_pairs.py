"""Pairs of nodes that change from round to round."""

from dataclasses import dataclass

import numpy as np

from mpiqopt.registry import register
from mpiqopt.topologies.graph import Graph
from mpiqopt.topologies.mixing import Mixing, mixing_from_edges

# rounds of a cycle: shorter ones of few nodes can resonate with the momentum of a method, longer ones of many nodes
# would take much memory
LEAST_ROUNDS, MOST_ROUNDS = 15, 63


def tournament_round(players: int, number: int) -> np.ndarray:
    """Return each player's partner in a round of a tournament in which all play all, once; int64 (players,).

    number: from 0, below players - 1, or players if that is odd: then one player rests, and is its own partner. The
    circle method: one stays, the others turn around it.

    >>> [tournament_round(4, number).tolist() for number in range(3)]
    [[3, 2, 1, 0], [2, 3, 0, 1], [1, 0, 3, 2]]
    >>> [tournament_round(3, number).tolist() for number in range(3)]
    [[0, 2, 1], [2, 1, 0], [1, 0, 2]]
    """
    turning = rounds_of_tournament(players)
    # those meet whose numbers sum to twice the round's; the round's own meets the one that stays, or rests
    partner = (2 * number - np.arange(turning)) % turning
    if players % 2:
        return partner
    partner[number] = turning
    return np.append(partner, number)


def rounds_of_tournament(players: int) -> int:
    """Return n - 1 rounds for an even number of players, n for an odd one."""
    return players - 1 + players % 2


@register("topology", "random-pairs")
@dataclass(frozen=True, kw_only=True)
class RandomPairs(Graph):
    """Varies in time: in every round each node averages with one partner, w = 1/2 and 1/2; ``weights`` is not used.

    Random tournaments (ours): every pair meets once before any meets again, in an order that the seed decides; it
    comes again after 15 to 63 rounds, so of more than 64 nodes not all pairs meet. Of an odd number one rests.
    """

    weighted = False

    def size(self) -> float:
        return self.nodes * min(max(rounds_of_tournament(self.nodes), LEAST_ROUNDS), MOST_ROUNDS) / 2

    def edges(self) -> np.ndarray:
        """Return the pairs of all rounds together, each in both directions."""
        return np.concatenate([mixing.arcs() for mixing in self.cycle()])

    def cycle(self) -> list[Mixing]:
        """Return the matrices of the rounds: of whole tournaments up to 64 nodes, of the first rounds of one beyond.

        >>> matrices = [W.dense() for W in RandomPairs(nodes=4).cycle()]
        >>> len(matrices), (sum(matrices) / len(matrices)).round(6).tolist()[0]  # the mean over all partners
        (15, [0.5, 0.166667, 0.166667, 0.166667])
        """
        draw = np.random.default_rng(self.seed)
        pairs: list[np.ndarray] = []
        while len(pairs) < LEAST_ROUNDS:
            label = draw.permutation(self.nodes)
            for number in draw.permutation(rounds_of_tournament(self.nodes))[:MOST_ROUNDS]:
                pairs.append(np.stack([label, label[tournament_round(self.nodes, number)]], axis=1))
        return [mixing_from_edges(self.nodes, edges, "metropolis") for edges in pairs]
