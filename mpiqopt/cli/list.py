"""mpiqopt list: what can be named in a config.

    $ mpiqopt list algorithm

The text beside a name is the first line of the docstring of its class.
"""

import sys

import click

from mpiqopt import registry
from mpiqopt.cli.options import load_plugins, plugin_option
from mpiqopt.neural.models import model_titles
from mpiqopt.terminal import escape_for_terminal, terminal_width, two_terminal_columns

# what ``problem.model`` can name: no classes that register, but files
MODELS = "model"


@click.command("list")
@click.argument("family", required=False, metavar="[FAMILY]")
@plugin_option
def command(family: str | None, plugins: tuple[str, ...]) -> None:
    """Print what can be named in a config: all families, or one (data, problem, algorithm, compressor, ...).

    A line for each name, with a formula or what it is; keys and their meanings are in docs/config.md.
    """
    load_plugins(plugins)
    families = (*registry.FOLDERS, MODELS)
    if family is not None and family not in families:
        raise click.UsageError(
            f"unknown family {family!r}{registry.suggest_word(family, families)}; families: {', '.join(families)}"
        )
    for name in [family] if family else families:
        click.secho(name, bold=True)
        click.echo(two_terminal_columns(_rows(name), terminal_width(sys.stdout), "  "), nl=False)


def _rows(family: str) -> list[tuple[str, str]]:
    """Return the names in a family, and what each is."""
    if family == MODELS:
        return [*model_titles().items()]
    return [(name, _meaning(cls)) for name, cls in registry.family_members(family).items()]


def _meaning(cls: type) -> str:
    """Return the first line of a part's docstring, with control characters escaped."""
    return escape_for_terminal((cls.__doc__ or "").strip().partition("\n")[0])
