"""Define what a compressor is: hyper-parameters in a frozen dataclass, and functions between vectors and messages.

``Compressor`` is the base class of the family; ``KernelCompressor`` that of members whose loops are compiled. ``Draw``
carries the randomness of a round to both ends of a link, so that no random numbers are sent.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np

from mpiqopt.field import Field, only

if TYPE_CHECKING:  # imported where a message is made shorter
    from mpiqopt._message_coder import MessageCoder


class Draw(NamedTuple):
    """The randomness of some messages, known to senders and receivers alike.

    Keys are hashes of (seed, round, node, block), so that runs are the same on any placement of the nodes.

    Parameters
    ----------
    round : number of gossip or server rounds so far
    own : uint64 (rows,), a key for each message: for roundings, which are to be independent between nodes
    shared : uint64 (rows,), a key that all nodes have in this round: for what receivers undo once for all messages
    """

    round: int
    own: np.ndarray
    shared: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Compressor(ABC):
    """A wire format for vectors of d values, C(x): x -> message -> the vector that receivers see.

    A message has a fixed number of bytes; gossip may send it shorter (``varies``). Compressors keep no state: error
    feedback and difference coding belong to the methods. Vectors come as rows (rows, d), float64 or float32, messages
    as uint8 (rows, nbytes); what is decoded may be of the other type. ``encode`` raises NotFinite for the first row
    with NaN, infinity or a scale beyond 2^1022; vectors with a scale below 2^-900 are sent as zero. Values near the
    largest number of their type may overflow when rotated or decoded.

    Methods choose steps by two constants, of which a compressor knows one or both, or neither:
    ``omega`` with E C(x) = x and E|C(x) - x|^2 <= omega |x|^2 (unbiased), ``delta`` with
    E|C(x) - x|^2 <= (1 - delta) |x|^2 (contractive).

    Examples
    --------
    >>> import numpy as np
    >>> from mpiqopt.compressors.sign import Sign
    >>> sign, keys = Sign(), np.zeros(1, np.uint64)
    >>> x, draw = np.array([[0.3, -2.0, 0.0]]), Draw(0, keys, keys)
    >>> messages = np.empty((1, sign.nbytes(3, x.dtype)), np.uint8)
    >>> sign.encode(x, messages, draw)
    >>> messages.tolist()  # bits 0 and 2
    [[5]]
    >>> sign.decode(messages, x, draw)
    >>> x.tolist()
    [[1.0, -1.0, 1.0]]
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
        """Return the bytes of one message of d values; ``dtype`` is that of the vectors that are encoded."""

    @abstractmethod
    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        """Write the messages of the rows of x.

        Parameters
        ----------
        x : float64 or float32 (rows, d), C-contiguous; not to be changed
        messages : uint8 (rows, nbytes), C-contiguous; every byte is to be written
        draw : keys for each row

        Raises
        ------
        NotFinite : with the number of the first row that cannot be sent
        """

    @abstractmethod
    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        """Write the rows of x from their messages, with the draw that they were encoded with.

        Any bytes are a message: broken ones give some vector, and neither an error nor a write outside x.
        """

    def decode_mean(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        """Decode n messages per row and write their mean, x = (1/n) sum_i C(x_i), summed in the order of nodes.

        Parameters
        ----------
        messages : uint8 (n, rows, nbytes), those of node i at place i
        x : (rows, d), written
        draw : own (n * rows,), node after node, and shared (rows,)
        """
        n, rows = messages.shape[:2]
        part = compressor_scratch(x.size, x.dtype, "mean").reshape(x.shape)
        x[:] = 0
        for i in range(n):
            self.decode(messages[i], part, Draw(draw.round, draw.own[i * rows : (i + 1) * rows], draw.shared))
            x += part
        x /= n

    @property
    def varies(self) -> bool:
        """True if ``message_coder`` makes messages shorter on their way, by as much as their values allow."""
        return False

    def message_coder(self, d: int) -> "MessageCoder":
        """Return what makes messages of d values shorter, and restores them to the bit, where they are to be so."""
        raise NotImplementedError

    def require(self, algorithm: str, server: bool) -> None:  # noqa: B027  # most have nothing to refuse
        """Raise UsageError if a method cannot use these keys; server: True if it communicates with one."""

    def usual_scale(self) -> float:
        """Return the root mean square of values by which the size of messages that vary is predicted."""
        return 1.0

    @property
    def unbiased(self) -> bool:
        """True if E C(x) = x, clipping aside."""
        return self.omega(2) is not None

    def omega(self, d: int) -> float | None:
        """Return the least known omega with E|C(x) - x|^2 <= omega |x|^2 and E C(x) = x, or None if C is biased."""
        return None

    def delta(self, d: int) -> float | None:
        """Return the largest known delta with E|C(x) - x|^2 <= (1 - delta) |x|^2, or None if there is none."""
        return None

    def usual_delta(self, d: int) -> float | None:
        """Return ``delta`` on vectors of normal numbers, where it is far from that of the worst vector; else None."""
        return None

    def gossip_omega(self, d: int) -> float | None:
        """Return the 1/delta - 1 that difference-coded gossip may count on, if smaller than delta says; else None.

        Errors even out over rounds: what one round leaves out, the next one sends. Measured, not proved
        (benchmarks/README.md).
        """
        return None

    def bias(self, d: int) -> float:
        """Return a bound of |E C(x) - x| / |x| for compressors that are unbiased but for clipping."""
        return 0.0

    def resolution(self, d: int) -> float | None:
        """Return a bound of E|C(x) - x|^2 / d that does not depend on x, within ``reach``; None if there is none."""
        return None

    def reach(self) -> float | None:
        """Return the largest |x_k| (if it ``rotates``, |x|) that does not saturate, or None if the range follows x."""
        return None

    def damping(self, d: int) -> float:
        """Return the factor that makes C a contraction: 1, or 1/(1 + omega) for unbiased compressors.

        E|C(x)/(1 + omega) - x|^2 <= omega/(1 + omega) |x|^2: delta = 1/(1 + omega).
        """
        omega = self.omega(d)
        return 1.0 if omega is None or self.delta(d) is not None else 1 / (1 + omega)

    def damped_delta(self, d: int) -> float | None:
        """Return the delta of ``damping`` times C, or None if there is none."""
        omega = self.omega(d)
        return self.delta(d) if omega is None or self.delta(d) is not None else 1 / (1 + omega)


@dataclass(frozen=True, kw_only=True)
class KernelCompressor(Compressor):
    """A compressor that is one compiled kernel, with functions nbytes, encode and decode of its own.

    ``kernel`` is a ``mpiqopt._compressors.Kernel`` or of one of its subclasses: a class attribute, or a cached property
    if it depends on fields. With ``random = True`` the kernel gets the messages' own keys, and rounds by them.
    """

    kernel: ClassVar[Any]
    random: ClassVar[bool] = False  # rounds by the messages' own keys

    def nbytes(self, d: int, dtype: np.dtype) -> int:
        return self.kernel.nbytes(d)

    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        self.kernel.encode(x, messages, draw.own if self.random else None)

    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        self.kernel.decode(messages, x)


# bytes of a line of the processor's cache, and of its widest registers
LINE = 64


@cache
def compressor_scratch(size: int, dtype: np.dtype, purpose: str = "") -> np.ndarray:
    """Return memory (size,) that is kept, and overwritten by whoever asks next for the same purpose.

    It begins at a multiple of 64 bytes: registers of 64 bytes that straddle two lines of the cache cost a rotation 5 %.
    """
    memory = np.empty(size * np.dtype(dtype).itemsize + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + memory.size - LINE].view(dtype)


def rotated_length(d: int) -> int:
    """Return the smallest power of two that is at least d."""
    return 1 << (d - 1).bit_length()
