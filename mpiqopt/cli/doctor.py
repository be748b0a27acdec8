"""mpiqopt doctor: versions of this installation, and what its MPI can do.

    $ mpiqopt doctor
    $ mpiexec -n 2 python -m mpiqopt doctor

It is the only command that always asks for MPI, so that a broken library is reported by name.
"""

import platform
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from mpiqopt import kernels
from mpiqopt.cli.output import output_result
from mpiqopt.errors import brief_error
from mpiqopt.terminal import terminal_width, two_terminal_columns

if TYPE_CHECKING:
    from mpiqopt.transport.neighbours import MPITransport


@click.command("doctor")
def command() -> Callable[..., int]:
    """Print the versions of this installation, and measure what its MPI can do.

    Under mpiexec -n 2 (better: across two hosts) it measures whether one-sided operations progress while the target
    computes.
    """
    kernels.level()  # raises what is wrong with them, before MPI is there
    return print_report


def print_report(transport: "MPITransport") -> int:
    """Print the report on rank 0, and return the exit status; collective.

    With two ranks or more it takes some seconds: one-sided operations are timed while the target sleeps and while it
    computes.
    """
    report = _report(transport)
    return 0 if transport.rank or output_result(report) else 1


def _report(transport: "MPITransport") -> str:
    """Return the lines of the report; collective."""
    facts = _installation(transport)
    if transport.size == 1:
        facts.append(("one-sided progress", "not measured: needs two ranks, mpiexec -n 2 python -m mpiqopt doctor"))
    else:
        from mpiqopt.transport.diagnosis import one_sided_progress

        facts += _progress(one_sided_progress(transport.comm) or [])
    return two_terminal_columns(facts, terminal_width(sys.stdout)).rstrip()


def _installation(transport: "MPITransport") -> list[tuple[str, str]]:
    """Return versions, kernels and MPI as (name, text); collective, to count hosts."""
    import h5py
    import mpi4py
    import numpy
    from mpi4py import MPI

    import mpiqopt
    from mpiqopt.transport.diagnosis import thread_level

    hosts = set(transport.comm.allgather(MPI.Get_processor_name()))
    hdf5 = f"h5py {h5py.__version__} (HDF5 {h5py.version.hdf5_version})"
    return [
        ("mpiqopt", mpiqopt.__version__),
        ("Python", f"{platform.python_version()}, NumPy {numpy.__version__}, {hdf5}"),
        ("kernels", kernels.describe_kernels()),
        ("networks", "" if transport.rank else _torch()),
        ("frozen blocks", "" if transport.rank else _frozen_blocks()),
        ("MPI", f"{transport.library} (mpi4py {mpi4py.__version__}, MPI {'.'.join(map(str, MPI.Get_version()))})"),
        ("thread level", f"{thread_level()} given when asked for MULTIPLE (runs ask for FUNNELED)"),
        ("ranks", f"{transport.size} on {len(hosts)} host{'s' * (len(hosts) > 1)}"),
    ]


def _torch() -> str:
    """Return PyTorch's version and devices, or why there are no networks.

    It is imported, which takes a second: nothing else tells which devices it finds, and whether it works at all.
    """
    if find_spec("torch") is None:
        return "PyTorch is not installed: networks need pip install 'mpiqopt[torch]'"
    try:
        from mpiqopt.neural.device import describe_devices
    except Exception as error:  # a library that it was built for is missing, or another version of it is there
        return f"PyTorch cannot be imported: {brief_error(error)}"
    return describe_devices()


def _frozen_blocks() -> str:
    """Return how blocks of networks that are not trained are computed; nothing without PyTorch."""
    if _torch().startswith("PyTorch is") or _torch().startswith("PyTorch cannot"):
        return "none: there are no networks"
    from mpiqopt.neural.device import describe_frozen_blocks

    return describe_frozen_blocks()


def _progress(results: list[Any]) -> list[tuple[str, str]]:
    """Return the measurements of one-sided operations, and the advice that follows.

    results: as of ``transport.diagnosis.one_sided_progress``; times are in s and printed in ms.
    """
    facts = []
    for r in results:
        verdict = "WAITS for the target to enter MPI" if r.waits else "progresses"
        times = f"{1e3 * r.idle:.3f} ms to an idle rank, {1e3 * r.busy:.3f} ms to one that computes"
        facts.append((f"one-sided {r.operation}", f"{times}: {verdict}"))
    if any(r.waits for r in results):
        advice = (
            "asynchronous methods must enter MPI often on every rank: one thread that coordinates and others that "
            "compute; between hosts prefer two-sided messages"
        )
    else:
        advice = "one-sided operations do not wait for a computing rank here: windows are safe between these ranks"
    return [*facts, ("advice", advice)]
