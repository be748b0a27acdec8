"""The subcommands, and how their words are read.

Each is a module of this folder with a click command called ``command``; it is imported when it is asked for.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

import mpiqopt
from mpiqopt.cli import complain
from mpiqopt.cli.output import refusal
from mpiqopt.errors import UsageError
from mpiqopt.terminal import terminal_width

COMMANDS = (
    "run",
    "check",
    "list",
    "topology",
    "show",
    "plot",
    "export",
    "compress-bench",
    "profile",
    "test",
    "doctor",
    "config-schema",
    "examples",
)


# wider text is hard to read
HELP_COLUMNS = 78


class Formatter(click.HelpFormatter):
    """Writes help with a column for what options mean, on narrow terminals too."""

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write a list of options and their meanings; names take at most a third of the width."""
        super().write_dl(rows, min(col_max, self.width // 3), col_spacing)


class Context(click.Context):
    """Formats help as wide as the terminal is; click itself takes 50 columns at least."""

    formatter_class = Formatter

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        width = terminal_width(sys.stdout)
        if width is not None:
            settings["terminal_width"] = min(width, HELP_COLUMNS)
        super().__init__(*arguments, **settings)


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is asked for: `--help` and each command stay quick."""

    context_class = Context

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of all subcommands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command called so, None if there is none."""
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f"mpiqopt.cli.{name.replace('-', '_')}").command
        command.context_class = Context
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return name, command and remaining words; fail with the nearest name if there is no such command."""
        from mpiqopt.registry import suggest_word

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            context.fail(f"no command {args[0]!r}{suggest_word(args[0], COMMANDS)}; commands: {', '.join(COMMANDS)}")
        return super().resolve_command(context, args)


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mpiqopt.__version__, prog_name="mpiqopt")
@click.pass_context
def cli(context: click.Context) -> None:
    """Decentralised optimisation and distributed learning on MPI ranks.

    Start a run on 4 ranks with: mpiexec -n 4 python -m mpiqopt run CONFIG
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(2)


def parse(words: list[str]) -> int | Callable:
    """Run what the words say, as far as one process can do it.

    Returns
    -------
    The exit status; or, of commands that need all ranks, a function of their transport that returns it, such as a
        ``Job``.

    Raises
    ------
    UsageError: the words are wrong, or what they name. KeyboardInterrupt: the user has stopped the command.
    """
    try:
        return cli.main(args=words, prog_name="mpiqopt", standalone_mode=False) or 0
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
    except click.Abort as abort:
        raise KeyboardInterrupt from abort
    except SystemExit as end:  # click's, where the reader of a pipe has gone: `mpiqopt show FILE | head`
        return int(end.code or 0)
    except OSError:
        if not refusal():
            raise
        complain(refusal())
        return 1
