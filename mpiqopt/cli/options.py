"""Options that several commands share, and the config that they name."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mpiqopt.registry import load_plugin

if TYPE_CHECKING:
    from mpiqopt.config.config import Config

plugin_option = click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="Python file that registers more parts."
)


def config_options(command: Callable) -> Callable:
    """Add CONFIG, --set and --plugin to a command, as ``config_path``, ``overrides`` and ``plugins``."""
    for decorate in (
        plugin_option,
        click.option(
            "--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Replace a value of the config."
        ),
        click.argument("config_path", metavar="CONFIG"),
    ):
        command = decorate(command)
    return command


def load_plugins(paths: tuple[str, ...]) -> None:
    """Run plug-ins in the order in which they were given."""
    for path in paths:
        load_plugin(path)


def load_config(path: str, overrides: tuple[str, ...], plugins: tuple[str, ...]) -> "Config":
    """Run the plug-ins, and return the config with its overrides.

    path: a TOML file or a result file. overrides: TABLE.KEY=VALUE. Raises UsageError with everything that is wrong in
    the config.
    """
    from mpiqopt.config.parse import load  # here, since not every command that has options needs it

    load_plugins(plugins)
    return load(path, overrides)
