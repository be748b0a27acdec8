"""The command line: parse, call, and turn known errors into one line and exit status 2.

Where several ranks were started, only rank 0 imports what reads command lines and configs.
"""

import pickle
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from mpiqopt import registry
from mpiqopt.cli.output import safe_streams
from mpiqopt.errors import AgreedError, NumericalError, UsageError, one_line, out_of_memory
from mpiqopt.transport import launch


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status (0, 1, 2 or 75)."""
    words = sys.argv[1:] if arguments is None else [*arguments]  # `list` is a subcommand here
    with safe_streams():
        return _answered(words)


def _answered(words: list[str]) -> int:
    """Do what the words say; known errors are one line and an exit status."""
    try:
        launch.require_word()
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
        message = out_of_memory(error) or registry.explained(error)
        if not message:
            raise
        complain(message)
        return 2


def _alone(words: list[str]) -> int:
    from mpiqopt.cli.commands import parse

    work = parse(words)
    if not callable(work):
        return work
    with _session(words) as transport:
        return _status(lambda: work(transport))


def _on_ranks(words: list[str]) -> int:
    try:
        with _session(words) as transport:
            return _status(lambda: _handed_out(words, transport))
    except AgreedError:  # rank 0 says it
        raise
    except UsageError as error:  # no MPI here
        launch.give_up(str(error))
        return 2


def _session(words: list[str]) -> AbstractContextManager:
    return launch.session(always=words[:1] == ["doctor"])


def _status(work: Callable[[], int]) -> int:
    """The exit status of what all ranks do together."""
    try:
        return work()
    except AgreedError as error:
        complain(str(error))
        return 2


def _handed_out(words: list[str], transport) -> int:
    """Rank 0 reads the command line, and what is left to do is done by all.

    The handshake comes first: a rank that was told something else ends the job, where it would stop it for ever later.
    """
    from mpiqopt.transport.agreement import by_first, together
    from mpiqopt.transport.handshake import require_alike

    require_alike(transport.comm, words)
    if transport.rank and words[:1] == ["run"]:
        import mpiqopt.cli.job  # noqa: F401 - what it needs, while rank 0 reads
    plugins, packed = by_first(transport, lambda: _packed(words))
    if plugins:
        together(transport, lambda: [registry.run_plugin(path, source) for path, source in plugins])
    work = pickle.loads(packed)
    return work(transport) if callable(work) else work


def _packed(words: list[str]) -> tuple[tuple[tuple[str, bytes], ...], bytes]:
    """The plug-ins that the words name and, made of them, what is to be done."""
    from mpiqopt.cli.commands import parse

    work = parse(words)
    return tuple(registry.plugins.items()), pickle.dumps(work)


def complain(message: str) -> None:
    """Print one line on standard error, from one rank."""
    if launch.launched_rank() == 0:
        print(one_line(message), file=sys.stderr, flush=True)
