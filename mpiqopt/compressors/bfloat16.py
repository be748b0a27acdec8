"""Send bfloat16, the upper half of single precision."""

from dataclasses import dataclass

from mpiqopt.compressors.short_floats import ShortFloats
from mpiqopt.registry import register


@register("compressor", "bfloat16")
@dataclass(frozen=True, kw_only=True)
class BFloat16(ShortFloats):
    """bfloat16: the upper half of single precision, to nearest, relative to a common power of two.

    Message: the power of two (4 bytes), then 2 bytes a value.
    """

    unit_roundoff = 2.0**-8
    underflow = 2.0**-133
