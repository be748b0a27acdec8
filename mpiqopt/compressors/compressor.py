"""What a compressor is: hyper-parameters in a frozen dataclass, and two functions between vectors and messages."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np

from mpiqopt.field import Field, only


class Draw(NamedTuple):
    """The randomness of some messages, known to senders and receivers alike.

    round: gossip or server rounds so far; own: uint64 (rows,), a key for each message; shared: uint64 (rows,), a key
    that is the same for all nodes.
    """

    round: int
    own: np.ndarray
    shared: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Compressor(ABC):
    """A wire format for vectors of d values, C(x): x -> message -> the vector that receivers see.

    A message has a fixed number of bytes. Compressors keep no state: error feedback and difference coding belong to
    the methods. Vectors come as rows (rows, d), float64 or float32, messages as uint8 (rows, nbytes); what is decoded
    may be of the other type. ``encode`` raises NotFinite for the first row with NaN, infinity or a scale beyond 2^1022;
    vectors with a scale below 2^-900 are sent as zero. Values near the largest number of their type may overflow when
    rotated or decoded.
    """

    name: ClassVar[str]  # that it is registered under
    approximates: ClassVar[bool] = True  # C(x) is near x, or so in the mean
    in_blocks: ClassVar[bool] = True  # messages of blocks differ from a message of all values
    rotates: ClassVar[bool] = False  # what is rounded is a rotation of x
    usual: ClassVar[bool] = False  # bounds hold for long vectors of normal numbers, not for every x

    block_size: Annotated[
        int,
        Field(
            ge=0,
            description="values that are compressed together, each block a message of its own; 0: all of them",
            needs=(only("in_blocks", True, "values are sent as they are"),),
        ),
    ] = 0

    @abstractmethod
    def nbytes(self, d: int, dtype: np.dtype) -> int:
        """Bytes of one message."""

    @abstractmethod
    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        """Write the messages of the rows of x."""

    @abstractmethod
    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        """Write the rows of x from their messages."""

    def decode_mean(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        """Write the means over n nodes of the vectors that their messages mean, summed in the order of nodes.

        messages: (n, rows, nbytes); x: (rows, d); draw: own (n * rows,), shared (rows,).
        """
        n, rows = messages.shape[:2]
        part = scratch(x.size, x.dtype, "mean").reshape(x.shape)
        x[:] = 0
        for i in range(n):
            self.decode(messages[i], part, Draw(draw.round, draw.own[i * rows : (i + 1) * rows], draw.shared))
            x += part
        x /= n

    @property
    def unbiased(self) -> bool:
        """Whether E C(x) = x, clipping aside."""
        return self.omega(2) is not None

    def omega(self, d: int) -> float | None:
        """The least known omega with E C(x) = x and E|C(x) - x|^2 <= omega |x|^2, or None if C is biased."""
        return None

    def delta(self, d: int) -> float | None:
        """The largest known delta with E|C(x) - x|^2 <= (1 - delta) |x|^2, or None if there is none."""
        return None

    def usual_delta(self, d: int) -> float | None:
        """``delta`` on vectors of normal numbers, where it is far from that of the worst vector; else None."""
        return None

    def gossip_omega(self, d: int) -> float | None:
        """1/delta - 1 that difference-coded gossip may count on, where errors even out more than delta says; else None.

        Measured, not proved (benchmarks/README.md).
        """
        return None

    def bias(self, d: int) -> float:
        """A bound of |E C(x) - x| / |x| for compressors that are unbiased but for clipping."""
        return 0.0

    def resolution(self, d: int) -> float | None:
        """A bound of E|C(x) - x|^2 / d that does not depend on x, within ``reach``."""
        return None

    def reach(self) -> float | None:
        """Return the largest |x_k| (if it ``rotates``, |x|) that does not saturate, or None if the range follows x."""
        return None

    def damping(self, d: int) -> float:
        """The factor that makes C a contraction: 1, or 1/(1 + omega) for unbiased compressors."""
        omega = self.omega(d)
        return 1.0 if omega is None or self.delta(d) is not None else 1 / (1 + omega)

    def damped_delta(self, d: int) -> float | None:
        """delta of ``damping`` times C."""
        omega = self.omega(d)
        return self.delta(d) if omega is None or self.delta(d) is not None else 1 / (1 + omega)


@dataclass(frozen=True, kw_only=True)
class KernelCompressor(Compressor):
    """A compressor that is one compiled kernel, with functions nbytes, encode and decode of its own."""

    kernel: ClassVar[Any]
    random: ClassVar[bool] = False  # rounds by the messages' own keys

    def nbytes(self, d: int, dtype: np.dtype) -> int:
        return self.kernel.nbytes(d)

    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        self.kernel.encode(x, messages, draw.own if self.random else None)

    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        self.kernel.decode(messages, x)


@cache
def scratch(size: int, dtype: np.dtype, purpose: str = "") -> np.ndarray:
    """Working memory that is kept: overwritten by whoever asks next for the same purpose."""
    return np.empty(size, dtype)


def power_of_two(d: int) -> int:
    """The smallest power of two that is at least d."""
    return 1 << (d - 1).bit_length()
