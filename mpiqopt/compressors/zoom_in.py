"""Round to a grid that shrinks as the run converges."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mpiqopt._compressors import UniformGrid
from mpiqopt.arithmetic.rounding import exact_power
from mpiqopt.compressors.compressor import Draw
from mpiqopt.compressors.entropy_coded import EntropyCoded
from mpiqopt.field import Field
from mpiqopt.registry import register

# Where the step stops shrinking: below, a vector counts as zero.
SMALLEST_STEP = 2.0**-800


@register("compressor", "zoom-in")
@dataclass(frozen=True, kw_only=True)
class ZoomIn(EntropyCoded):
    """Rounding to nearest with a step that shrinks by ``factor`` in every round, and grows where values would saturate.

    step_k = initial_step factor^k expand^j, k the round, j = 0, 1, ... the smallest at which max|x| <= levels step_k,
    levels = 2^(bits-1) - 1. The error of a value is at most step_k/2. Meant for differences (all coded gossip sends
    them): there it is the zooming-in quantiser with innovation coding of the literature, without a state to be lost.
    Message: step_k (4 bytes, the upper half of a float64), then ``bits`` bits a value, code ``levels`` for zero.
    """

    bits: Annotated[int, Field(ge=2, le=16, description="bits of one value")] = 8
    initial_step: Annotated[float, Field(gt=0, description="step of round 0")] = 1.0
    factor: Annotated[float, Field(gt=0, le=1, description="the step shrinks by this in every round")] = 0.9
    expand: Annotated[float, Field(ge=1.01, description="the step grows by this until nothing saturates")] = 2.0

    def _kernel(self, round: int) -> UniformGrid:
        """Return the grid of a round; decoding needs none: the step is in the message."""
        levels = (1 << (self.bits - 1)) - 1
        step = max(self.initial_step * exact_power(self.factor, round), SMALLEST_STEP)
        return UniformGrid(self.bits, "zoom", levels, levels, levels, step, self.expand)

    def nbytes(self, d: int, dtype: np.dtype) -> int:
        return self._kernel(0).nbytes(d)

    def encode(self, x: np.ndarray, messages: np.ndarray, draw: Draw) -> None:
        self._kernel(draw.round).encode(x, messages)

    def decode(self, messages: np.ndarray, x: np.ndarray, draw: Draw) -> None:
        self._kernel(0).decode(messages, x)

    def layout(self) -> tuple[int, int, bool]:
        return self.bits, (1 << (self.bits - 1)) - 1, True

    def usual_scale(self) -> float:
        """Return the step of round 0: differences are to shrink as the step does."""
        return self.initial_step
