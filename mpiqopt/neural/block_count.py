"""What a block of a network computes and keeps; without PyTorch, for those who plan with it."""

from typing import NamedTuple


class BlockCount(NamedTuple):
    """What a block of a network takes; from ``multiply_adds`` on for each sample.

    Attributes
    ----------
    name : its modules, joined by "+"
    parameters, statistics : how many numbers of each it has
    scales : of tensors that it makes and others quantise
    multiply_adds : of its convolutions and products of matrices in a forward pass
    inputs : numbers that enter it
    saved : numbers, of four bytes, that its forward pass saves for the backward pass, its parameters left out
    largest : numbers of the largest of these, or of its output
    """

    name: str
    parameters: int
    statistics: int
    scales: int
    multiply_adds: int
    inputs: int
    saved: int
    largest: int

    @property
    def coordinates(self) -> int:
        """Return how many coordinates of x the block has."""
        return self.parameters + self.statistics
