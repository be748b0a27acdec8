"""Means over cohorts on the hosted nodes of a rank, the same call on any number of ranks.

python -m tools.cohort      under mpiexec: prints a digest of all results of all ranks
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpiqopt.network.codecs import Codecs
from mpiqopt.network.server import Server
from mpiqopt.network.traffic import Traffic
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.transport.transport import Transport

NODES, D, SEED = 13, 37, 5
# by name: blocks of 8 leave a shorter last one, and one block has a single server
COMPRESSORS: dict[str, dict[str, Any]] = {
    "identity": {},
    "qsgd": {"block_size": 8},
    "one-bit": {"block_size": 8},
    "flattened-one-bit": {"block_size": 16},
    "eden": {"block_size": 8},
    "top-k": {"fraction": 0.2},
    "low-rank": {"rank": 1},
}
COHORTS = {
    "one": [4],
    "server": [0],
    "two": [0, 12],
    "some": [1, 2, 5, 6, 7, 11],
    "low": [0, 1, 2, 3, 4],
    "all": list(range(NODES)),
}
# nodes of four regions, the third of which nobody of "low" is in, and the fourth nobody at all
GROUPS = np.array([0, 1, 0, 0, 1, 4, 2, 0, 4, 4, 2, 1, 4])


@dataclass(frozen=True)
class Case:
    """A mean and what is done with it. compressor: a name, None for no coding."""

    cohort: str
    compressor: str | None = None
    dtype: str = "float64"
    grouped: bool = False

    @property
    def members(self) -> np.ndarray:
        """The cohort, int64 (c,)."""
        return np.array(COHORTS[self.cohort])

    @property
    def weights(self) -> np.ndarray:
        """Very unequal weights, float64 (c,)."""
        return 10.0 ** np.random.default_rng(len(self.cohort)).uniform(-6, 6, len(self.members))

    @property
    def rows(self) -> np.ndarray:
        """The rows of all members, (c, d), of scales that differ."""
        rng = np.random.default_rng([7, len(self.members)])
        scale = 10.0 ** rng.integers(-3, 4, (len(self.members), 1))
        return (rng.standard_normal((len(self.members), D)) * scale).astype(self.dtype)


def made_server(transport: Transport, compressor: str | None, rounds: int = 0) -> tuple[Server, Traffic]:
    """A server of NODES nodes, and its counters, after so many rounds."""
    made = None if compressor is None else find_member("compressor", compressor)(**COMPRESSORS[compressor])
    place, traffic = Placement(NODES, transport.size, transport.rank), Traffic(rounds)
    return Server(place, transport, traffic, Codecs(made, SEED, NODES), None), traffic


def hosted(transport: Transport, members: np.ndarray) -> slice:
    """Which of the members this rank hosts."""
    place = Placement(NODES, transport.size, transport.rank)
    return slice(*np.searchsorted(members, [place.first, place.last]))


def upload(transport: Transport, case: Case, rounds: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray, Traffic]:
    """The mean (or means), the echo (c, d) of the hosted members, what all have after the download, the counters."""
    server, traffic = made_server(transport, case.compressor, rounds)
    members, coded = case.members, case.compressor is not None
    rows = case.rows[hosted(transport, members)]
    if case.grouped:
        mean, echo = server.cohort.grouped_mean(rows, members, case.weights, GROUPS, coded, echo=True)
    else:
        mean, echo = server.cohort.weighted_mean(rows, members, case.weights, coded, echo=True)
    back = server.cohort.spread_to(mean[0] if case.grouped else mean, members, coded)
    return mean, echo, back, traffic


def cases() -> list[Case]:
    """Every cohort with every compressor and none, in both precisions, in groups or not."""
    return [
        Case(cohort, compressor, dtype, grouped)
        for cohort in COHORTS
        for compressor in (None, *COMPRESSORS)
        for dtype in ("float64", "float32")
        for grouped in (False, True)
    ]


def main() -> None:
    from mpi4py import MPI

    from mpiqopt.transport.neighbours import MPITransport

    transport = MPITransport(MPI.COMM_WORLD, patient=True)
    digest = hashlib.sha256()
    for case in cases():
        mean, _, back, traffic = upload(transport, case)
        digest.update(mean.tobytes() + back.tobytes() + repr((traffic.rounds, traffic.bytes)).encode())
    known = transport.share(digest.hexdigest())
    error = transport.first_error(None if digest.hexdigest() == known else f"{transport.name} differs")
    if transport.rank == 0:
        print(error or known)
    transport.close()


if __name__ == "__main__":
    main()
