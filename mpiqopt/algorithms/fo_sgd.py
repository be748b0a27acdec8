"""FO-SGD: flattened one-bit stochastic gradient descent."""

from dataclasses import dataclass

from mpiqopt.algorithms.compressed_sgd import CompressedSGD
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.errors import UsageError
from mpiqopt.registry import register
from mpiqopt.topologies.topology import Topology


@register("algorithm", "fo-sgd")
@dataclass(frozen=True, kw_only=True)
class FOSGD(CompressedSGD):
    """x+ = prox_{a h}(x - a mean_i C(g_i)), C the flattened dithered bit; with ``two_way`` C on the way back too.

    The server sums bits (as integers, if the dither is fixed) and rotates back once for each block. Two compressions
    multiply their errors: two ways need a smaller step. All nodes have the same x; the topology is not used.
    Source: after Stollenwerk and Jacques, "Flattened one-bit stochastic gradient descent", arXiv 2405.11095; the
    operator is ours, from the abstract.
    """

    default_compressor = "flattened-one-bit"

    def require_compressor(self, compressor: Compressor, topology: Topology) -> None:
        super().require_compressor(compressor, topology)
        if compressor.name != "flattened-one-bit":
            raise UsageError(
                f"compressor.name = {compressor.name!r}: algorithm 'fo-sgd' is SGD with 'flattened-one-bit'; others "
                "are for qsgd-sgd or ef-sgd"
            )
