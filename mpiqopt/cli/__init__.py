"""The command line: parse, call, and turn known errors into one line and exit status 2.

Where several ranks were started, only rank 0 imports what reads command lines and configs.

>>> main(["list", "regularizer"])  # prints, and returns the exit status
regularizer
  box          lower <= x_k <= upper...
0
"""

import pickle
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from mpiqopt import registry
from mpiqopt.cli.output import safe_streams
from mpiqopt.errors import AgreedError, NumericalError, UsageError, error_line, out_of_memory_error_line
from mpiqopt.transport import launch

if TYPE_CHECKING:
    from mpiqopt.transport.neighbours import MPITransport


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    arguments: the words after `mpiqopt`; None for those of the process. On ranks that MPI has started it is collective.

    Returns
    -------
    The exit status: 0 done, 1 failed (a diverged run, a broken promise, a full disk), 2 wrong input, 75 stopped early
        with
    a checkpoint, 130 interrupted.
    """
    words = sys.argv[1:] if arguments is None else [*arguments]  # `list` is a subcommand here
    with safe_streams():
        return _exit_status(words)


def _exit_status(words: list[str]) -> int:
    """Return the exit status of what the words say; print known errors in one line."""
    try:
        launch.require_ranks_variable()
        return _alone(words) if launch.launched_size() == 1 else _on_ranks(words)
    except UsageError as error:
        complain(str(error))
        return 2
    except NumericalError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except BaseException as error:  # a plug-in's sys.exit, too
        message = out_of_memory_error_line(error) or registry.explain_plugin_error(error)
        if not message:
            raise
        complain(message)
        return 2


def _alone(words: list[str]) -> int:
    """Run the words in one process, with MPI only if the command asks for it."""
    from mpiqopt.cli.commands import parse

    work = parse(words)
    if not callable(work):
        return work
    with _session(words) as transport:
        return _common_status(lambda: work(transport))


def _on_ranks(words: list[str]) -> int:
    """Run the words on all ranks that MPI has started."""
    try:
        with _session(words) as transport:
            return _common_status(lambda: _share_out(words, transport))
    except AgreedError:  # rank 0 says it
        raise
    except UsageError as error:  # no MPI here
        launch.give_up_before_mpi(str(error))
        return 2


def _session(words: list[str]) -> AbstractContextManager:
    """Return a context in which MPI is there, and which ends it in order."""
    return launch.mpi_session(always=words[:1] == ["doctor"])


def _common_status(work: Callable[[], int]) -> int:
    """Return the exit status of what all ranks do together; rank 0 prints an error that all agree on."""
    try:
        return work()
    except AgreedError as error:
        complain(str(error))
        return 2


def _run_plugins(plugins: tuple[tuple[str, bytes], ...]) -> None:
    """Run plug-ins, as (path, source)."""
    for path, source in plugins:
        registry.run_plugin(path, source)


def _share_out(words: list[str], transport: "MPITransport") -> int:
    """Read the command line on rank 0, and do what is left of it on all ranks; return the exit status.

    The handshake comes first: a rank that was started with other words ends the job at once, where it would block it
    later.
    """
    from mpiqopt.transport.agreement import agreed_from_rank_0, agreed_on_all_ranks
    from mpiqopt.transport.handshake import require_alike

    require_alike(transport.comm, words)
    if transport.rank and words[:1] == ["run"]:
        import mpiqopt.cli.job  # noqa: F401 - what it needs, while rank 0 reads
    plugins, packed = agreed_from_rank_0(transport, lambda: _packed(words))
    if plugins:
        agreed_on_all_ranks(transport, lambda: _run_plugins(plugins))
    work = pickle.loads(packed)
    return work(transport) if callable(work) else work


def _packed(words: list[str]) -> tuple[tuple[tuple[str, bytes], ...], bytes]:
    """Return the plug-ins that the words name, and the pickled rest of the command, which is made of them."""
    from mpiqopt.cli.commands import parse

    work = parse(words)
    return tuple(registry.plugins.items()), pickle.dumps(work)


def complain(message: str) -> None:
    """Print one line on standard error, from one rank.

    The line is cut in its middle to the width of ``errors.LINE``, and control characters are escaped.
    """
    if launch.launched_rank() == 0:
        print(error_line(message), file=sys.stderr, flush=True)
