"""SGD with an unbiased compressor."""

from dataclasses import dataclass

from mpiqopt.algorithms.compressed_sgd import CompressedSGD
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.errors import UsageError
from mpiqopt.registry import register
from mpiqopt.topologies.topology import Topology


@register("algorithm", "qsgd-sgd")
@dataclass(frozen=True, kw_only=True)
class QSGDSGD(CompressedSGD):
    """x+ = prox_{a h}(x - a mean_i C(g_i)) with any unbiased compressor, QSGD unless another is named.

    With ``two_way`` also the mean is compressed. All nodes have the same x; the topology is not used.
    Source: Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD: Communication-efficient SGD via gradient quantization and
    encoding", NeurIPS 2017.
    """

    default_compressor = "qsgd"

    def require_compressor(self, compressor: Compressor, topology: Topology) -> None:
        super().require_compressor(compressor, topology)
        if not compressor.unbiased:
            raise UsageError(
                f"compressor.name = {compressor.name!r}: biased; algorithm {self.name!r} wants an unbiased one, such "
                "as qsgd, terngrad or natural (ef-sgd takes all)"
            )
