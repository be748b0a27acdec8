"""A model of what training a window takes, from what its blocks compute and keep: the same numbers on every machine.

The work of a layer is its multiply-adds and, for the norms and activations around it, PER_NUMBER multiply-adds for each
number that it saves. A step takes three times the work of a forward pass: forward, gradient of inputs, gradient of
weights. Blocks before the window are computed forward, those after it forward and for the gradient of their inputs:

    time   = sum before forward(b)  +  3 sum window work(b)  +  sum after [forward(b) + backward(b)]
    memory = gradient of the window + what it saves + masks of those after + copies of frozen weights + scratch

both relative to the window of all blocks. Memory is what is taken above the network itself, whose row is always there.

Source: ours. The constants were fitted to steps of ResNet-18 and MobileNetV2 (batch 32, images of 3 x 32 x 32, one
thread, an AMD EPYC with AVX-512 VNNI, PyTorch 2.13): full steps of 546 and 320 ms, forward passes in int8 that are 4.2
and 2.7 times as fast, resident peaks of 252 and 690 MB. For their first, middle and last windows the model is within
.06 of the measured time and within .07 of the measured memory. It knows nothing of another machine's caches, threads
or instructions: `mpiqopt profile` measures.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mpiqopt.federation.windows import Cost, all_windows
from mpiqopt.neural.block_count import BlockCount
from mpiqopt.neural.partial import Frozen

# multiply-adds in the time that one saved number takes, by norms and activations and by depthwise convolutions
PER_NUMBER = 86.0
# bytes of a number, and of the masks that stand for a number that training would save
FLOAT, INT8, MASK = 4, 1, 0.4
BYTES = {"float": FLOAT, "int8": INT8}
# bytes taken for a byte saved (layouts, the allocator); scratch in multiples of the largest tensor, of trained blocks
# (gradients on their way) and of frozen ones
SAVED, SCRATCH, PASSING = 1.2, 7.0, 3.0


class Speed(NamedTuple):
    """Time relative to float32 with norms: of multiply-adds, and of the work on saved numbers."""

    multiply_adds: float
    numbers: float

    def work(self, count: BlockCount) -> float:
        """Return the work of a block's forward pass, in multiply-adds a sample."""
        return self.multiply_adds * count.multiply_adds + self.numbers * PER_NUMBER * count.saved


TRAINED = Speed(1.0, 1.0)
FOLDED = Speed(1.0, 0.6)  # norms are part of the convolutions
INT8_FORWARD = Speed(0.205, 0.42)
INT8_BACKWARD = Speed(0.3, 1.1)  # masks, and numbers that become bfloat16 and back
FORWARD = {"float": FOLDED, "int8": INT8_FORWARD}
BACKWARD = {"float": FOLDED, "int8": INT8_BACKWARD}
IN_FLOAT = Frozen("float", "float")


def counted_costs(counts: Sequence[BlockCount], batch: int, frozen: Frozen) -> list[Cost]:
    """Return the cost of every window, in the order of first and last blocks.

    Parameters
    ----------
    counts : of the blocks, from input to output
    batch : samples of a step
    frozen : how frozen blocks are computed
    """
    whole = full_time(counts), full_memory(counts, batch), upload(counts, frozen)
    return [
        Cost(
            *window,
            _time(counts, *window, frozen) / whole[0],
            _memory(counts, *window, batch, frozen) / whole[1],
            upload(counts[window.first : window.last + 1], frozen) / whole[2],
        )
        for window in all_windows(len(counts))
    ]


def upload(counts: Sequence[BlockCount], frozen: Frozen) -> int:
    """Return how many numbers a client sends that trains these blocks: scales, too, if frozen blocks take them."""
    scaled = frozen.before != "float" or frozen.after != "float"
    return sum(count.coordinates + scaled * count.scales for count in counts)


def full_time(counts: Sequence[BlockCount]) -> float:
    """Return the multiply-adds a sample that would take as long as a step that trains all blocks."""
    return _time(counts, 0, len(counts) - 1, IN_FLOAT)


def full_memory(counts: Sequence[BlockCount], batch: int) -> float:
    """Return the bytes that training all blocks takes above the network itself."""
    return _memory(counts, 0, len(counts) - 1, batch, IN_FLOAT)


def _time(counts: Sequence[BlockCount], first: int, last: int, frozen: Frozen) -> float:
    """Return the multiply-adds a sample that would take as long as a step."""
    total = sum(FORWARD[frozen.before].work(count) for count in counts[:first])
    total += sum(3 * TRAINED.work(count) for count in counts[first : last + 1])
    for count in counts[last + 1 :]:
        total += FORWARD[frozen.after].work(count) + BACKWARD[frozen.after].work(count)
    return total


def _memory(counts: Sequence[BlockCount], first: int, last: int, batch: int, frozen: Frozen) -> float:
    """Return the bytes that a step takes at most above the network itself."""
    window = counts[first : last + 1]
    total: float = FLOAT * sum(count.parameters for count in window)
    total += SAVED * FLOAT * batch * (counts[first].inputs + sum(count.saved for count in window))
    total += MASK * batch * sum(count.saved for count in counts[last + 1 :])
    total += BYTES[frozen.before] * sum(count.parameters for count in counts[:first])
    # int8 has a second copy, transposed, for the gradient
    total += (2 * INT8 if frozen.after == "int8" else FLOAT) * sum(count.parameters for count in counts[last + 1 :])
    scratch = [SCRATCH * FLOAT * max(count.largest for count in window)]
    scratch += [PASSING * BYTES[frozen.before] * count.largest for count in counts[:first]]
    scratch += [PASSING * FLOAT * count.largest for count in counts[last + 1 :]]
    return total + batch * max(scratch)
