"""Rotate, and send signs with a scale: DRIVE."""

from dataclasses import dataclass

from mpiqopt.compressors.eden import RotatedLevels
from mpiqopt.registry import register


@register("compressor", "drive")
@dataclass(frozen=True, kw_only=True)
class Drive(RotatedLevels):
    """S U^T sign(U x): EDEN with one bit.

    Message of a block: EDEN's scale (4 bytes, the upper half of a float64, rounded up), then D bits. Vargaftik, Ben
    Basat, Portnoy, Mendelson, Ben-Itzhak, Mitzenmacher, "DRIVE: one-bit distributed mean estimation", 2021.
    """

    bits = 1
