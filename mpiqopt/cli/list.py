"""mpiqopt list: what can be named in a config.

    $ mpiqopt list algorithm

The text beside a name is the first line of the docstring of its class.
"""

import sys

import click

from mpiqopt import registry
from mpiqopt.cli.options import load_plugins, plugin_option
from mpiqopt.terminal import escape_for_terminal, terminal_width, two_terminal_columns


@click.command("list")
@click.argument("family", required=False, metavar="[FAMILY]")
@plugin_option
def command(family: str | None, plugins: tuple[str, ...]) -> None:
    """Print what can be named in a config: all families, or one (data, problem, algorithm, compressor, ...).

    A line for each name, with a formula or what it is; keys and their meanings are in docs/config.md.
    """
    load_plugins(plugins)
    if family is not None and family not in registry.FOLDERS:
        raise click.UsageError(
            f"unknown family {family!r}{registry.suggest_word(family, registry.FOLDERS)}; "
            f"families: {', '.join(registry.FOLDERS)}"
        )
    for name in [family] if family else registry.FOLDERS:
        click.secho(name, bold=True)
        rows = [(member, _meaning(cls)) for member, cls in registry.family_members(name).items()]
        click.echo(two_terminal_columns(rows, terminal_width(sys.stdout), "  "), nl=False)


def _meaning(cls: type) -> str:
    """Return the first line of a part's docstring, with control characters escaped."""
    return escape_for_terminal((cls.__doc__ or "").strip().partition("\n")[0])
