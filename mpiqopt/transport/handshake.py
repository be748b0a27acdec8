"""The first thing that ranks do together: find out whether all were told to do the same, by the same versions.

One gather and one broadcast of a fixed size, which every version of mpiqopt understands, whatever a rank was told: the
layout must neither grow nor change.
"""

import sys
import zlib

import numpy as np
from mpi4py import MPI

import mpiqopt
from mpiqopt.errors import AgreedError
from mpiqopt.transport.waiting import wait_quietly

RECORD = np.dtype(
    [("host", "S64"), ("mpiqopt", "S32"), ("python", "S16"), ("numpy", "S16"), ("sum", np.int64), ("told", "S376")]
)
VERDICT = 1024  # bytes of the line that goes to all
VERSIONS = {"mpiqopt": "mpiqopt", "python": "Python", "numpy": "NumPy"}


def require_alike(comm: MPI.Intracomm, words: list[str]) -> None:
    """Collective: raise AgreedError, on all ranks, unless all have the arguments and the versions of rank 0."""
    records = np.empty(comm.size, RECORD)
    wait_quietly(comm.Igather([_record(words), MPI.BYTE], [records, MPI.BYTE] if comm.rank == 0 else None))
    verdict = np.zeros(1, f"S{VERDICT}")
    if comm.rank == 0:
        verdict[0] = difference_between_ranks(records).encode()
    wait_quietly(comm.Ibcast([verdict, MPI.BYTE]))
    if verdict[0]:
        raise AgreedError(_text(verdict[0]))


def _record(words: list[str]) -> np.ndarray:
    """Return what this rank is and was told, RECORD (1,)."""
    python = ".".join(map(str, sys.version_info[:2]))
    versions = mpiqopt.__version__, python, np.__version__.split(".")[0]
    told = [word.encode(errors="surrogateescape") for word in words]
    host = MPI.Get_processor_name().encode(errors="surrogateescape")
    return np.array([(host, *versions, zlib.crc32(b"\0".join(told)), b" ".join(told))], RECORD)


def difference_between_ranks(records: np.ndarray) -> str:
    """Return how the first rank that is not like rank 0 differs, and where it is; "" if none does.

    records: RECORD (ranks,), of all ranks in order; versions are compared before arguments.
    """
    for field in (*VERSIONS, "sum"):
        others = np.flatnonzero(records[field] != records[field][0])
        if len(others):
            rank = int(others[0])
            where, there = (f"rank {r} on {_text(records['host'][r])}" for r in (rank, 0))
            if field in VERSIONS:
                theirs, ours = (f"{VERSIONS[field]} {_text(records[field][r])}" for r in (rank, 0))
                return f"{where} has {theirs}, {there} {ours}: all ranks want the same"
            told, first = (_text(records["told"][r]) for r in (rank, 0))
            return f"{where} was told {told!r}, {there} {first!r}: all ranks want the same arguments"
    return ""


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
