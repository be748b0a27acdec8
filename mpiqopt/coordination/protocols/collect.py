"""A sum along a tree that the nodes find themselves."""

from typing import Any

from mpiqopt._coordination import FoundTree, Rules, TreeRules
from mpiqopt.coordination.costs import Call, Network
from mpiqopt.coordination.protocols.tree import Tree
from mpiqopt.coordination.wiring import Wiring
from mpiqopt.registry import register
from mpiqopt.topologies.topology import Topology

# bytes of a frame by which nodes look for the tree; by mailboxes it says which stage it is of
FIND = 6


@register("coordinator", "collect")
class Collect(Tree):
    """The sum of ``tree``, by nodes that know their links, n and D (the diameter, or a bound): they find the tree.

    Before the first call of a process every node tells its neighbours the lowest node that it has heard of and how far
    that is, there and back, and after D stages all know the ways to node 0 and from it (``FoundTree``). Calls are those
    of ``tree``: 2 (n - 1) vectors. Source: ours.
    """

    def overlay(self, topology: Topology) -> Any:
        return None

    def rules(self, wiring: Wiring, overlay: Any, d: int, seed: int) -> Rules:
        tree = FoundTree(wiring)
        return TreeRules(d, tree.up, tree.children, tree.down, tree)

    def steps(self, wiring: Wiring, overlay: Any) -> int | None:
        return 2 * wiring.diameter

    def cost_before(self, network: Network, mailboxes: bool) -> Call:
        """Nodes tell what is new to their neighbours, by mailboxes whatever there is, in every stage."""
        stages, neighbours = network.diameter + 1, network.arcs * (2 if network.directed else 1)
        frames = neighbours * (stages if mailboxes else 1 + network.diameter / 2)
        return Call(stages, frames, frames * (FIND + mailboxes))
