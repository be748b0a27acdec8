"""mpiqopt doctor"""

import platform

import click

from mpiqopt.transport import launch


@click.command("doctor")
def command() -> None:
    """Print what this installation is made of, and measure what its MPI can do.

    Under mpiexec -n 2 (better: across two hosts) it measures whether one-sided operations progress while the target
    computes.
    """
    transport = launch.start(always=True)
    try:
        report = _report(transport)
    finally:
        launch.stop(transport)
    if transport.rank == 0:
        click.echo(report)


def _report(transport) -> str:
    """The lines of the report; collective."""
    import h5py
    import mpi4py
    import numpy
    from mpi4py import MPI

    import mpiqopt
    from mpiqopt import _build_info as build
    from mpiqopt.transport import diagnosis

    facts = [
        ("mpiqopt", mpiqopt.__version__),
        ("Python", f"{platform.python_version()}, NumPy {numpy.__version__}, h5py {h5py.__version__} (HDF5 {h5py.version.hdf5_version})"),
        ("kernels", f"{build.VECTORS}, built with -march={build.MARCH} by {build.COMPILER}"),
        ("MPI", f"{transport.library} (mpi4py {mpi4py.__version__}, MPI {'.'.join(map(str, MPI.Get_version()))})"),
        ("thread level", f"{diagnosis.thread_level()} given when asked for MULTIPLE (runs ask for FUNNELED)"),
        ("ranks", f"{transport.size} on {len(set(MPI.COMM_WORLD.allgather(MPI.Get_processor_name())))} host(s)"),
    ]
    lines = [f"{name:<22}{value}" for name, value in facts]
    if transport.size == 1:
        return "\n".join([*lines, f"{'one-sided progress':<22}not measured: needs two ranks, mpiexec -n 2 python -m mpiqopt doctor"])
    results = diagnosis.one_sided_progress(transport.comm)
    return "\n".join([*lines, *_progress_lines(results)]) if results else ""


def _progress_lines(results) -> list[str]:
    lines = [
        f"{'one-sided ' + r.operation:<22}{1e3 * r.idle:.3f} ms to an idle rank, {1e3 * r.busy:.3f} ms to one that computes: "
        + ("WAITS for the target to enter MPI" if r.waits else "progresses")
        for r in results
    ]
    if any(result.waits for result in results):
        advice = (
            "asynchronous methods must enter MPI often on every rank: keep MPI in one thread that coordinates and compute "
            "in others; between hosts prefer two-sided messages"
        )
    else:
        advice = "one-sided operations do not wait for a computing rank here; windows are safe to use between these ranks"
    return [*lines, f"{'advice':<22}{advice}"]
