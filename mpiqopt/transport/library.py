"""Which MPI library mpi4py gets, and whether it is the launcher's.

mpi4py's wheel has a module for each binary interface and loads the first library that it finds by name. Debian's MPICH
has another name (libmpich.so.12) for the same interface, so that the wheel overlooks it; this module offers it.
"""

import ctypes
import os
import site
import sys
from glob import glob
from importlib.util import find_spec
from pathlib import Path

from mpiqopt.errors import AgreedError

MPICH, OPEN_MPI = "MPICH", "Open MPI"
# libraries with MPICH's interface and launcher
_MPICH_AND_KIN = ("MPICH", "Intel", "MVAPICH", "CRAY MPICH")
# the name that mpi4py's wheel was linked with, and that of Debian 12 and Ubuntu 24.04, for the same interface
_WANTED, _DEBIANS = "libmpi.so.12", "libmpichcxx.so.12"


def launchers_library() -> str:
    """Return whose mpiexec started this process, or nothing if it was another launcher or none."""
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        return OPEN_MPI
    return MPICH if "HYDI_CONTROL_FD" in os.environ else ""


def offer_debians_mpich() -> None:
    """Let mpi4py take Debian's MPICH if MPICH's mpiexec started this process, or if there is no other library.

    Not if the environment has an MPI of its own (a wheel, conda), or variables or a module choose one.
    """
    if _chosen() or not _asks_for_mpich() or _loads(_WANTED):
        return
    if launchers_library() == MPICH or not (_loads("libmpi.so") or _loads("libmpi.so.40")):
        _rename_debians_mpich()


def _chosen() -> bool:
    """True if the environment has an MPI of its own, or variables choose one."""
    prefixes = {sys.exec_prefix, sys.base_exec_prefix, site.getuserbase()}
    beside = any(glob(f"{prefix}/lib/libmpi.so*") for prefix in prefixes)
    return beside or "MPI4PY_LIBMPI" in os.environ or "MPI4PY_MPIABI" in os.environ


def _asks_for_mpich() -> bool:
    """True if mpi4py is a wheel, with a module for each interface, and not built on this machine."""
    spec = find_spec("mpi4py")
    return spec is not None and spec.origin is not None and bool(glob(f"{Path(spec.origin).parent}/MPI.mpich.*"))


def _loads(name: str) -> bool:
    """True if the system's loader finds a library of that name. It stays loaded."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _rename_debians_mpich() -> None:
    """Load libmpich.so.12 by way of a library called libmpi.so.12, for which the loader then does not look any more.

    The C++ interface of the same package is linked with it and small: a copy in memory gets the name.
    """
    for path in glob(f"/usr/lib/*/{_DEBIANS}"):
        old, new = (b"\0" + name.encode() + b"\0" for name in (_DEBIANS, _WANTED))
        copy = os.memfd_create(_WANTED)
        os.write(copy, Path(path).read_bytes().replace(old, new.ljust(len(old), b"\0")))
        if _loads(f"/proc/self/fd/{copy}"):
            os.environ["MPI4PY_MPIABI"] = "mpich"
        os.close(copy)


def library_family(name: str) -> str:
    """Return whose interface and launcher a library has, by what it says that it is; or nothing."""
    if name.startswith(OPEN_MPI):
        return OPEN_MPI
    return MPICH if name.startswith(_MPICH_AND_KIN) else ""


def require_launchers_library(name: str) -> None:
    """Raise AgreedError if the other MPI's mpiexec started this process: ranks would not find each other, or hang.

    name: what the library says that it is; it may be asked before MPI_Init.
    """
    owner, starter = library_family(name), launchers_library()
    if owner and starter and owner != starter:
        raise AgreedError(
            f"started by the mpiexec of {starter}, but mpi4py found {name}: start with {_mpiexec_of(owner)}, or "
            f"install the library of {starter} (see mpiqopt doctor)"
        )


def _mpiexec_of(owner: str) -> str:
    """Return a likely path of the launcher that belongs to the library."""
    beside = Path(sys.exec_prefix) / "bin" / "mpiexec"
    return str(beside) if beside.exists() else f"mpiexec.{owner.lower().replace(' ', '')}"
