"""Send IEEE single precision numbers."""

from dataclasses import dataclass

from mpiqopt.compressors.short_floats import ShortFloats
from mpiqopt.registry import register


@register("compressor", "float32")
@dataclass(frozen=True, kw_only=True)
class Float32(ShortFloats):
    """IEEE single precision, to nearest, relative to a common power of two.

    Message: the power of two (4 bytes), then 4 bytes a value.
    """

    unit_roundoff = 2.0**-24
    underflow = 2.0**-149
