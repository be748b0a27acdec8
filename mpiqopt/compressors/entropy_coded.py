"""What compressors share whose levels may travel entropy-coded."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from mpiqopt.compressors.compressor import Compressor
from mpiqopt.errors import UsageError
from mpiqopt.field import Field

if TYPE_CHECKING:  # imported where a message is made shorter
    from mpiqopt._message_coder import MessageCoder

# what makes messages shorter, beside "none"; ``mpiqopt._message_coder`` has numbers for them
CODERS = "tile", "rice", "range"


@dataclass(frozen=True, kw_only=True)
class EntropyCoded(Compressor):
    """A compressor of a uniform grid, whose messages a ``coder`` makes shorter on their way: by how much, varies."""

    coder: Annotated[
        Literal["none", "tile", "rice", "range"],
        Field(
            description="how the levels are packed, in gossip; values are the same: none: all with as many bits; tile: "
            "as many as the largest of 1024 needs; rice: Golomb-Rice codes; range: an adaptive range coder, shortest, "
            "20 to 130 ns a value (docs/compression.md)"
        ),
    ] = "none"

    @property
    def varies(self) -> bool:
        return self.coder != "none"

    def require(self, algorithm: str, server: bool) -> None:
        if self.varies and server:
            raise UsageError(
                f"compressor.coder = {self.coder!r}: algorithm {algorithm!r} has a server, and messages of gossip "
                "alone vary in size; want 'none'"
            )

    def message_coder(self, d: int) -> "MessageCoder":
        from mpiqopt._message_coder import MessageCoder

        return MessageCoder(d, *self.layout(), CODERS.index(self.coder))

    @abstractmethod
    def layout(self) -> tuple[int, int, bool]:
        """Return bits of a code, the code of zero (the upper of two about it), and True if messages have a scale."""
