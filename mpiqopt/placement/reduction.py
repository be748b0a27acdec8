"""Sums over all nodes whose rounding does not depend on which rank hosts what.

The sum is a binary tree over node ids: leaf i is node i, and block k of level l adds blocks 2k and 2k+1 of
level l-1 (a block without a sibling moves up unchanged). A rank sums the blocks that lie wholly in its own
range, at most two per level are left over, and the root finishes the same tree. Ours; any contiguous
placement gives the same bits.
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

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
    """The sum over all nodes for a placement, planned once.

    Parameters
    ----------
    bounds : int64 (ranks + 1,), first node of each rank, and the number of nodes; of the members of a cohort likewise
    rank : this one

    Attributes
    ----------
    blocks, counts : of each rank, the blocks whose sums it has, and how many these are

    >>> reduction = Reduction(np.array([0, 3]))
    >>> reduction.finish(reduction.partial_sums(np.array([[1.0], [2.0], [4.0]]))).tolist()
    [7.0]
    """

    def __init__(self, bounds: np.ndarray, rank: int = 0):
        self._first, self._nodes = int(bounds[rank]), int(bounds[-1])
        ranges = pairwise(bounds.tolist())
        self.blocks = [partial_sums(np.empty((high - low, 0)), low, self._nodes)[0] for low, high in ranges]
        self.counts = [len(own) for own in self.blocks]
        self._pairs = pairs_to_add([block for own in self.blocks for block in own], self._nodes)

    def partial_sums(self, rows: np.ndarray) -> np.ndarray:
        """Return what this rank contributes, (counts[rank], d), of its rows (hosted, d)."""
        if len(rows) == 1:
            return rows
        return np.array(partial_sums(rows, self._first, self._nodes)[1])

    def partial_sums_of_pieces(self, pieces: Iterable[np.ndarray]) -> np.ndarray:
        """Return ``partial_sums`` of rows that come in pieces (k, d), in the order of the hosted nodes."""
        sums, first = RunningSum(self._nodes), self._first
        for piece in pieces:
            for block, row in zip(*partial_sums(piece, first, self._nodes), strict=True):
                sums.add_block(block, row.copy())
            first += len(piece)
        return np.array([sums.blocks[block] for block in sorted(sums.blocks)])

    def finish(self, sums: np.ndarray) -> np.ndarray:
        """Return the sum over all nodes, (d,), of the partial sums of all ranks in rank order."""
        rows = list(sums)
        for left, right in self._pairs:
            rows.append(rows[left] + rows[right])
        return rows[-1]


class RunningSum:
    """The weighted sum of vectors that come one by one, in any order: the same tree, and the same bits.

    Stores the sums of complete blocks alone: at most log2(leaves) + 1 vectors if leaves come in ascending order.

    Parameters
    ----------
    leaves : of the whole tree, added here or not

    Attributes
    ----------
    blocks : the sums, (d,) each; in the end those of ``Reduction.blocks`` for the range of leaves added here

    >>> total = RunningSum(3)
    >>> for leaf in 2, 0, 1:
    ...     total.add(leaf, np.array([1.0, 10.0]), 2.0**leaf)
    >>> [vector.tolist() for vector in total.blocks.values()]
    [[7.0, 70.0]]
    """

    def __init__(self, leaves: int):
        self.blocks: dict[Block, np.ndarray] = {}
        self._leaves, self._spare = leaves, list[np.ndarray]()

    def add(self, leaf: int, row: np.ndarray, weight: float) -> None:
        """Add ``weight`` (a number that keeps the row's type) times the row (d,), which is not kept."""
        total = self._spare.pop() if self._spare else np.empty_like(row)
        np.multiply(row, weight, out=total)
        self.add_block((0, leaf), total)

    def add_block(self, block: Block, total: np.ndarray) -> None:
        """Add the sum (d,) of a complete block, which is changed."""
        level, index = block
        width = -(-self._leaves >> level)
        while width > 1:
            sibling = self.blocks.pop((level, index ^ 1), None)
            if sibling is not None:
                sibling += total
                if len(self._spare) < 2:  # as the next two leaves need; whole blocks need none
                    self._spare.append(total)
                total = sibling
            elif index ^ 1 < width:
                break
            level, index, width = level + 1, index // 2, (width + 1) // 2
        self.blocks[level, index] = total
