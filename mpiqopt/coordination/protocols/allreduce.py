"""The yardstick: one MPI all-reduce of the integers."""

from mpiqopt.coordination.protocol import CoordinationProtocol
from mpiqopt.registry import register


@register("coordinator", "allreduce")
class Allreduce(CoordinationProtocol):
    """S by one MPI_Allreduce, which needs no graph but all ranks at once; counted as a server's 2 (n - 1) messages."""
