"""The command line: parse, call, and turn known errors into one line and exit status 2."""

import importlib
import sys

import click

import mpiqopt
from mpiqopt.errors import NumericalError, UsageError

COMMANDS = ("run", "check", "list", "topology", "show", "plot", "compress-bench", "doctor", "config-schema", "examples")


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is asked for: `--help` and each command stay quick."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*COMMANDS]  # `list` is a submodule here once it is imported

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"mpiqopt.cli.{name.replace('-', '_')}").command

    def resolve_command(self, context: click.Context, args: list[str]):
        from mpiqopt.registry import suggestion

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            context.fail(f"no command {args[0]!r}{suggestion(args[0], COMMANDS)}; commands: {', '.join(COMMANDS)}")
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


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status (0, 1, 2 or 75)."""
    try:
        status = cli.main(args=arguments, prog_name="mpiqopt", standalone_mode=False)
    except (click.ClickException, UsageError) as error:
        complain(error.format_message() if isinstance(error, click.ClickException) else str(error))
        return 2
    except NumericalError as error:
        complain(str(error))
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # `mpiqopt show FILE | head`
        sys.stderr.close()
        return 1
    return status if isinstance(status, int) else 0


def complain(message: str) -> None:
    """One line on standard error, from one rank."""
    from mpiqopt.transport.launch import launched_rank

    if launched_rank() == 0:
        print(f"mpiqopt: {' '.join(message.split())}", file=sys.stderr, flush=True)
