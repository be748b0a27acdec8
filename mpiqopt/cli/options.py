"""Options that several commands share."""

from collections.abc import Callable

import click

from mpiqopt.config.config import Config
from mpiqopt.config.parse import load
from mpiqopt.registry import load_plugin


def config_options(command: Callable) -> Callable:
    """CONFIG, --set and --plugin."""
    for decorate in (
        click.option(
            "--plugin", "plugins", multiple=True, metavar="FILE", help="Python file that registers more parts."
        ),
        click.option(
            "--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="Replace a value of the config."
        ),
        click.argument("config_path", metavar="CONFIG"),
    ):
        command = decorate(command)
    return command


def load_config(path: str, overrides: tuple[str, ...], plugins: tuple[str, ...]) -> Config:
    for plugin in plugins:
        load_plugin(plugin)
    return load(path, overrides)
