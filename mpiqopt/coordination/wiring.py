"""The links of a network seen from one process: where frames for a node go, and where those to its nodes come from."""

from typing import NamedTuple

import numpy as np

from mpiqopt.arithmetic.distinct import distinct_values
from mpiqopt.placement.placement import Placement
from mpiqopt.topologies.topology import Topology


class Wiring(NamedTuple):
    """Links into and out of the hosted nodes first, first + 1, ...; all arrays int64.

    Links into hosted nodes are numbered by (receiver, sender), those out of them by (sender, receiver). With
    h = hosted, a = links in and b = links out:

    Attributes
    ----------
    nodes, diameter : of the network
    first, first_link : the first hosted node, and the first link out of it among all links of the network
    ranks : processes at the other ends; box k + 1 is for ranks[k], box 0 for this process
    in_starts, out_starts : (h + 1,); node i has links in_starts[i] .. in_starts[i + 1] - 1
    in_box, out_box : (a,), (b,); the box for what goes to the other end
    in_there, out_there : (a,), (b,); the number that the link has there
    in_place, out_place : (a,), (b,); the number that it has among the links of the node there
    receiver : (a,); the position of the receiving node among the hosted ones
    in_links, out_links : (a, 2), (b, 2); sender and receiver
    """

    nodes: int
    first: int
    first_link: int
    diameter: int
    ranks: tuple[int, ...]
    in_starts: np.ndarray
    in_box: np.ndarray
    in_there: np.ndarray
    in_place: np.ndarray
    receiver: np.ndarray
    in_links: np.ndarray
    out_starts: np.ndarray
    out_box: np.ndarray
    out_there: np.ndarray
    out_place: np.ndarray
    out_links: np.ndarray

    @property
    def boxes(self) -> int:
        return 1 + len(self.ranks)


def wiring_of_rank(topology: Topology, place: Placement) -> Wiring:
    """Return the wiring of a rank.

    >>> from mpiqopt.registry import find_member
    >>> ring = Topology("directed-ring", tuple(find_member("topology", "directed-ring")(nodes=4).cycle()))
    >>> half = wiring_of_rank(ring, Placement(4, 2, 1))  # nodes 2 and 3
    >>> half.out_links.tolist(), half.out_box.tolist(), half.ranks  # 3 -> 0 goes to rank 0
    ([[2, 3], [3, 0]], [0, 1], (0,))
    """
    nodes, bounds = place.nodes, place.bounds
    by_sender = topology.arcs()
    by_receiver = by_sender[np.lexsort((by_sender[:, 0], by_sender[:, 1]))]
    owner = np.repeat(np.arange(place.ranks), np.diff(bounds))
    first_in = np.searchsorted(by_receiver[:, 1], bounds)  # of each rank
    first_out = np.searchsorted(by_sender[:, 0], bounds)
    into = by_receiver[first_in[place.rank] : first_in[place.rank + 1]]
    out = by_sender[first_out[place.rank] : first_out[place.rank + 1]]
    ranks = distinct_values(np.concatenate([owner[into[:, 0]], owner[out[:, 1]]]))
    ranks = ranks[ranks != place.rank]
    box = np.zeros(place.ranks, np.int64)
    box[ranks] = 1 + np.arange(len(ranks))
    receiver_key, sender_key = by_receiver[:, 1] * nodes + by_receiver[:, 0], by_sender[:, 0] * nodes + by_sender[:, 1]
    sent_by, heard_by = np.searchsorted(sender_key, into @ [nodes, 1]), np.searchsorted(receiver_key, out @ [1, nodes])
    hosted = np.arange(place.first, place.last + 1)
    return Wiring(
        nodes=nodes,
        first=place.first,
        first_link=int(first_out[place.rank]),
        diameter=topology.diameter,
        ranks=tuple(ranks.tolist()),
        in_starts=np.searchsorted(into[:, 1], hosted),
        in_box=box[owner[into[:, 0]]],
        in_there=sent_by - first_out[owner[into[:, 0]]],
        in_place=sent_by - np.searchsorted(by_sender[:, 0], into[:, 0]),
        receiver=into[:, 1] - place.first,
        in_links=into,
        out_starts=np.searchsorted(out[:, 0], hosted),
        out_box=box[owner[out[:, 1]]],
        out_there=heard_by - first_in[owner[out[:, 1]]],
        out_place=heard_by - np.searchsorted(by_receiver[:, 1], out[:, 1]),
        out_links=out,
    )
