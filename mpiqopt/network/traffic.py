"""How much has been sent: rounds, bytes from node to node, bytes between ranks."""

from dataclasses import dataclass, field


@dataclass
class Traffic:
    """Counters of a run, equal on all ranks but for those that end in ``here``.

    They are the network's whole state: ``rounds`` tells which mixing matrix of a cycle is next, and keys the random
    numbers that messages are rounded by.

    rounds: communication rounds so far; bytes: payload from node to node, summed over directed links; mpi_bytes: what
    was handed to MPI for it, summed over ranks; bytes_here, mpi_bytes_here: further ones, of messages whose size
    varies, which each rank counts for its own nodes.

    >>> traffic = Traffic()
    >>> traffic.count(bytes=800, mpi_bytes=160)
    >>> traffic.count(bytes=400, mpi_bytes=0, rounds=0)
    >>> traffic
    Traffic(rounds=1, bytes=1200, mpi_bytes=160)
    """

    rounds: int = 0
    bytes: int = 0
    mpi_bytes: int = 0
    bytes_here: int = field(default=0, repr=False)
    mpi_bytes_here: int = field(default=0, repr=False)

    def restore(self, other: "Traffic") -> None:
        """Set all counters to those of ``other``: of a checkpoint, or of before an iteration that is thrown away."""
        self.rounds, self.bytes, self.mpi_bytes = other.rounds, other.bytes, other.mpi_bytes
        self.bytes_here, self.mpi_bytes_here = other.bytes_here, other.mpi_bytes_here

    def count(self, bytes: int, mpi_bytes: int, rounds: int = 1) -> None:
        """Add what one message pattern sends; rounds=0 for the second half of a round."""
        self.rounds += rounds
        self.bytes += bytes
        self.mpi_bytes += mpi_bytes

    def count_here(self, bytes: int, mpi_bytes: int) -> None:
        """Add what the hosted nodes alone send, of messages whose size varies."""
        self.bytes_here += bytes
        self.mpi_bytes_here += mpi_bytes
