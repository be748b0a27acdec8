"""signSGD with majority vote."""

from dataclasses import dataclass

from mpiqopt.algorithms.algorithm import Facts
from mpiqopt.algorithms.compressed_sgd import CompressedSGD, TwoWay
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.errors import UsageError
from mpiqopt.registry import register
from mpiqopt.topologies.topology import Topology


@register("algorithm", "sign-sgd")
@dataclass(frozen=True, kw_only=True)
class SignSGD(CompressedSGD):
    """x+ = prox_{a h}(x - a sign(sum_i sign(g_i))): the server counts votes, one bit each way; sign(0) = +1.

    Every coordinate moves by the step size: without a schedule that shrinks it, the iterates end in a box of that size.
    ``two_way = false`` sends the mean of the signs back as it is. All nodes have the same x; the topology is not used.
    Source: Bernstein, Zhao, Azizzadenesheli, Anandkumar, "signSGD with majority vote is communication efficient and
    fault tolerant", ICLR 2019.
    """

    default_compressor = "sign"

    two_way: TwoWay = True

    def automatic_step(self, facts: Facts) -> float:
        """Raise UsageError: the step is what every coordinate moves by, so that L does not give one."""
        raise UsageError(
            "algorithm.step_size: missing; 'sign-sgd' moves every coordinate by it, so L does not give one"
        )

    def require_compressor(self, compressor: Compressor, topology: Topology) -> None:
        super().require_compressor(compressor, topology)
        if compressor.name != "sign":
            raise UsageError(f"compressor.name = {compressor.name!r}: algorithm 'sign-sgd' sends 'sign'")
