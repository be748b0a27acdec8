"""SGD with an unbiased compressor."""

from dataclasses import dataclass

from mpiqopt.algorithms.compressed_sgd import CompressedSGD
from mpiqopt.errors import UsageError
from mpiqopt.registry import register


@register("algorithm", "qsgd-sgd")
@dataclass(frozen=True, kw_only=True)
class QSGDSGD(CompressedSGD):
    """x+ = prox_{a h}(x - a mean_i C(g_i)) with any unbiased compressor, QSGD unless another is named.

    Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD", 2017. With ``two_way`` also the mean is compressed.
    """

    default_compressor = "qsgd"

    def require_compressor(self, compressor, topology):
        super().require_compressor(compressor, topology)
        if not compressor.unbiased:
            raise UsageError(
                f"compressor.name = {compressor.name!r}: biased; algorithm {self.name!r} wants an unbiased one, such "
                "as qsgd, terngrad or natural (ef-sgd takes all)"
            )
