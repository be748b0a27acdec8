"""Round to a fixed uniform grid."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from mpiqopt._compressors import UniformGrid
from mpiqopt.compressors.compressor import KernelCompressor
from mpiqopt.compressors.entropy_coded import EntropyCoded
from mpiqopt.errors import UsageError
from mpiqopt.field import Field
from mpiqopt.registry import register

Bits = Annotated[int, Field(ge=1, le=16, description="bits of one value")]


@register("compressor", "uniform")
@dataclass(frozen=True, kw_only=True)
class Uniform(KernelCompressor, EntropyCoded):
    """Multiples of a fixed step; values beyond the last level become that level.

    mid-tread: 0, +-step, ..., +-(2^(bits-1) - 1) step; mid-riser: +-step/2, ..., +-(2^(bits-1) - 1/2) step.
    nearest: error at most step/2; stochastic: unbiased, variance at most step^2/4 (mid-riser: inside the last levels).
    mid-tread: C(x)_j = step floor(x_j/step + u_j), u_j = 1/2 or uniform on [0, 1); mid-riser: the same, shifted.
    Message: ``bits`` bits a value, code 0 the lowest level. No header: range and step are in the config.
    """

    step: Annotated[float, Field(ge=1e-250, description="distance of neighbouring levels")]
    bits: Bits = 8
    kind: Annotated[
        Literal["mid-tread", "mid-riser"],
        Field(description="zero is a level (mid-tread), or lies between two (mid-riser)"),
    ] = "mid-tread"
    rounding: Annotated[
        Literal["nearest", "stochastic"],
        Field(description="to the nearest level, or to a neighbour at random, unbiased"),
    ] = "stochastic"

    def __post_init__(self) -> None:
        if self.bits == 1 and self.kind == "mid-tread":
            raise UsageError("compressor.bits = 1: want at least 2 for compressor.kind = 'mid-tread'")

    @cached_property
    def kernel(self) -> UniformGrid:
        """The grid with 2^bits levels (mid-riser), or 2^bits - 1 (mid-tread)."""
        half = 1 << (self.bits - 1)
        if self.kind == "mid-riser":
            return UniformGrid(self.bits, "given", half, half - 0.5, half - 0.5, self.step)
        return UniformGrid(self.bits, "given", half - 1, half - 1, half - 1, self.step)

    def layout(self) -> tuple[int, int, bool]:
        half = 1 << (self.bits - 1)
        return self.bits, half if self.kind == "mid-riser" else half - 1, False

    def usual_scale(self) -> float:
        """Return the step: the differences that gossip sends become as small as that."""
        return self.step

    @property
    def random(self) -> bool:  # type: ignore[override]  # elsewhere the same for a whole class
        """True if roundings need the messages' keys."""
        return self.rounding == "stochastic"

    def reach(self) -> float:
        """Return the last level."""
        half = 1 << (self.bits - 1)
        return self.step * (half - 0.5 if self.kind == "mid-riser" else half - 1)

    def resolution(self, d: int) -> float | None:
        """Return step^2/4, the most of either rounding."""
        return self.step**2 / 4
