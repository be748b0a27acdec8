"""What of a network a client trains: a window of its blocks, and how the frozen rest is computed. Without PyTorch.

>>> Window(2, 4).contains(Window(3, 3)), str(Window(2, 4))
(True, '2-4')
"""

from typing import Literal, NamedTuple

import numpy as np


class Window(NamedTuple):
    """Consecutive blocks, numbered from 0, both ends included."""

    first: int
    last: int

    def contains(self, other: "Window") -> bool:
        """Return True if all blocks of ``other`` are in this window."""
        return self.first <= other.first and other.last <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class Frozen(NamedTuple):
    """How blocks that are not trained are computed.

    Attributes
    ----------
    before : blocks before the window
    after : blocks after it, which gradients pass
    bits : of the numbers that 8-bit layers work on, 2 to 8; below 8 they are 8-bit numbers with 2^bits - 1 levels
    """

    before: Literal["int8", "float"] = "int8"
    after: Literal["int8", "float"] = "int8"
    bits: int = 8


class Partial(NamedTuple):
    """What of a network a client trains.

    Attributes
    ----------
    window : the blocks that it trains
    frozen : how the others are computed
    scales : float32 (S,), the largest magnitude of each quantised tensor; 0 where it is not known
    """

    window: Window
    frozen: Frozen
    scales: np.ndarray


class Block(NamedTuple):
    """A block of a network, and what of a row belongs to it.

    Attributes
    ----------
    modules : their names, for ``get_submodule``
    parameters : its coordinates that optimisers move
    statistics : its running statistics; empty for most blocks
    scales : which of the S scales its layers produce
    """

    modules: tuple[str, ...]
    parameters: slice
    statistics: slice
    scales: slice

    @property
    def name(self) -> str:
        """The names of its modules, joined by "+"; "all" for a network that is one block."""
        return "+".join(self.modules) or "all"

    @property
    def parts(self) -> list[slice]:
        """The coordinates of the row that belong to the block, without empty parts."""
        return [part for part in (self.parameters, self.statistics) if part.stop > part.start]
