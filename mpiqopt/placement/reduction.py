"""Sums over all nodes whose rounding does not depend on which rank hosts what.

The sum is a binary tree over node ids: leaf i is node i, and block k of level l adds blocks 2k and 2k+1 of
level l-1 (a block without a sibling moves up unchanged). A rank sums the blocks that lie wholly in its own
range, at most two per level are left over, and the root finishes the same tree. Ours; any contiguous
placement gives the same bits.
"""

from collections.abc import Iterable

import numpy as np

from mpiqopt.placement.placement import Placement

Block = tuple[int, int]  # (level, index within the level)


def partial_sums(rows: np.ndarray, first: int, nodes: int) -> tuple[list[Block], list[np.ndarray]]:
    """Return the sums of the largest complete blocks among the rows of nodes first, first + 1, ...

    rows: (hosted, d). Returns the blocks in ascending order of level, and their sums, (d,) each.
    """
    blocks: list[Block] = []
    sums: list[np.ndarray] = []

    def leave(row: np.ndarray, index: int) -> None:
        blocks.append((level, index))
        sums.append(row)

    level, start, width = 0, first, nodes
    while len(rows):
        if start % 2 or width == 1:
            leave(rows[0], start)
            rows, start = rows[1:], start + 1
            continue
        alone = len(rows) % 2 and start + len(rows) == width
        if len(rows) % 2 and not alone:
            leave(rows[-1], start + len(rows) - 1)
            rows = rows[:-1]
        even = len(rows) // 2 * 2
        pairs = rows[0:even:2] + rows[1:even:2]
        rows = np.concatenate([pairs, rows[even:]]) if alone else pairs
        level, start, width = level + 1, start // 2, (width + 1) // 2
    return blocks, sums


class GrowingSums:
    """``partial_sums`` of rows that come piece by piece, in the order of nodes: the same blocks, order and bits.

    At most log2(nodes) + 1 sums are there at once, beside those of a piece.

    Parameters
    ----------
    first : the node of the first row
    nodes : n, of the whole network

    >>> sums = GrowingSums(first=0, nodes=3)
    >>> for piece in ([[1.0], [2.0]], [[4.0]]):
    ...     sums.add(np.array(piece))
    >>> sums.finished().tolist()
    [[7.0]]
    """

    def __init__(self, first: int, nodes: int):
        self._next, self._nodes = first, nodes
        self._blocks: list[tuple[int, int, np.ndarray]] = []  # level, index and sum, in the order of nodes

    def add(self, rows: np.ndarray) -> None:
        """Add the rows (k, d) of the next k nodes; what is kept of them is copied."""
        blocks, sums = partial_sums(rows, self._next, self._nodes)
        self._next += len(rows)
        for (level, index), row in sorted(zip(blocks, sums, strict=True), key=lambda each: each[0][1] << each[0][0]):
            self._push(level, index, row.copy())

    def _push(self, level: int, index: int, row: np.ndarray) -> None:
        """Add a block behind the others, to its sibling if that is there, and so on upwards."""
        while True:
            if index % 2 and self._blocks and self._blocks[-1][:2] == (level, index - 1):
                row = self._blocks.pop()[2] + row
            elif index % 2 or index == 0 or (index + 1) << level < self._nodes:
                break  # node 0's block, like one whose sibling is still to come, waits where it is
            level, index = level + 1, index // 2
        self._blocks.append((level, index, row))

    def finished(self) -> np.ndarray:
        """Return the sums, (blocks, d), in the order of ``partial_sums``."""
        return np.array([row for _, _, row in sorted(self._blocks, key=lambda block: block[:2])])


def pairs_to_add(blocks: list[Block], nodes: int) -> list[tuple[int, int]]:
    """Return how to finish the tree: positions (left, right) to add, each sum appended to the list of blocks."""
    at = {block: position for position, block in enumerate(blocks)}
    pairs: list[tuple[int, int]] = []
    level, width = 0, nodes
    while width > 1:
        for _, index in sorted(block for block in at if block[0] == level):
            if index % 2:
                continue
            left, right = at.pop((level, index)), at.pop((level, index + 1), None)
            if right is not None:
                pairs.append((left, right))
            at[level + 1, index // 2] = left if right is None else len(blocks) + len(pairs) - 1
        level, width = level + 1, (width + 1) // 2
    return pairs


class Reduction:
    """The sum over all nodes for a placement, planned once. ``counts``: how many partial sums each rank has.

    >>> reduction = Reduction(Placement(3))
    >>> reduction.finish(reduction.partial_sums(np.array([[1.0], [2.0], [4.0]]))).tolist()
    [7.0]
    """

    def __init__(self, place: Placement):
        self.place = place
        bounds = place.bounds.tolist()
        ranges = zip(bounds[:-1], bounds[1:], strict=True)
        blocks = [partial_sums(np.empty((high - low, 0)), low, place.nodes)[0] for low, high in ranges]
        self.counts = [len(own) for own in blocks]
        self._pairs = pairs_to_add([block for own in blocks for block in own], place.nodes)

    def partial_sums(self, rows: np.ndarray) -> np.ndarray:
        """Return what this rank contributes, (counts[rank], d), of its rows (hosted, d)."""
        if len(rows) == 1:
            return rows
        return np.array(partial_sums(rows, self.place.first, self.place.nodes)[1])

    def partial_sums_of_pieces(self, pieces: Iterable[np.ndarray]) -> np.ndarray:
        """Return ``partial_sums`` of rows that come in pieces (k, d), in the order of the hosted nodes."""
        sums = GrowingSums(self.place.first, self.place.nodes)
        for piece in pieces:
            sums.add(piece)
        return sums.finished()

    def finish(self, sums: np.ndarray) -> np.ndarray:
        """Return the sum over all nodes, (d,), of the partial sums of all ranks in rank order."""
        rows = list(sums)
        for left, right in self._pairs:
            rows.append(rows[left] + rows[right])
        return rows[-1]
