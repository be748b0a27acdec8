"""Send IEEE half precision numbers."""

from dataclasses import dataclass

from mpiqopt.compressors.short_floats import ShortFloats
from mpiqopt.registry import register


@register("compressor", "float16")
@dataclass(frozen=True, kw_only=True)
class Float16(ShortFloats):
    """IEEE half precision, to nearest, relative to a common power of two.

    Message: the power of two (4 bytes), then 2 bytes a value.
    """

    unit_roundoff = 2.0**-11
    underflow = 2.0**-39
