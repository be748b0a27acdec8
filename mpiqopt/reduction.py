"""Sums over all nodes whose rounding does not depend on which rank hosts what.

The sum is a binary tree over node ids: leaf i is node i, and block k of level l adds blocks 2k and 2k+1 of
level l-1 (a block without a sibling moves up unchanged). A rank sums the blocks that lie wholly in its own
range, at most two per level are left over, and the root finishes the same tree. Ours; any contiguous
placement gives the same bits.
"""

import numpy as np

Block = tuple[int, int]  # (level, index within the level)


def partial_sums(rows: np.ndarray, first: int, nodes: int) -> tuple[list[Block], np.ndarray]:
    """Sums of the largest complete blocks among the rows of nodes first, first + 1, ...

    rows: (hosted, d). Returns the blocks in ascending order of level and their sums (blocks, d).
    """
    blocks: list[Block] = []
    sums = []
    level, start, width = 0, first, nodes
    while len(rows):
        if start % 2:
            blocks.append((level, start))
            sums.append(rows[0])
            rows, start = rows[1:], start + 1
            continue
        if len(rows) == width == 1:
            blocks.append((level, start))
            sums.append(rows[0])
            break
        alone = len(rows) % 2 and start + len(rows) == width
        if len(rows) % 2 and not alone:
            blocks.append((level, start + len(rows) - 1))
            sums.append(rows[-1])
            rows = rows[:-1]
        even = len(rows) // 2 * 2
        pairs = rows[0:even:2] + rows[1:even:2]
        rows = np.concatenate([pairs, rows[even:]]) if alone else pairs
        level, start, width = level + 1, start // 2, (width + 1) // 2
    return blocks, np.array(sums)


def blocks_of(first: int, last: int, nodes: int) -> list[Block]:
    """The blocks that ``partial_sums`` returns for a rank that hosts first .. last - 1."""
    return partial_sums(np.empty((last - first, 0)), first, nodes)[0]


def finish(blocks: list[Block], sums: np.ndarray, nodes: int) -> np.ndarray:
    """The sum over all nodes from the partial sums of all ranks, (d,)."""
    at = dict(zip(blocks, sums, strict=True))
    level, width = 0, nodes
    while width > 1:
        for block in [b for b in at if b[0] == level]:
            index = block[1]
            if index % 2 == 0 and (index + 1 == width or (level, index + 1) in at):
                left, right = at.pop(block), at.pop((level, index + 1), None)
                at[level + 1, index // 2] = left if right is None else left + right
        level, width = level + 1, (width + 1) // 2
    return at[level, 0]
