"""mpiqopt test: the promises of a plug-in's parts.

    $ mpiqopt test huber.py --set huber.threshold=0.5
    problem huber: node returns value and gradient: ok

The checks are those of ``contracts``; keys without a default have to be given.
"""

from typing import Any

import click

from mpiqopt import registry
from mpiqopt.errors import UsageError


@click.command("test")
@click.argument("files", metavar="FILE.py...", nargs=-1, required=True)
@click.option(
    "--set", "overrides", multiple=True, metavar="NAME.KEY=VALUE", help="Test the part NAME with this value of a key."
)
def command(files: tuple[str, ...], overrides: tuple[str, ...]) -> int:
    """Check that the parts which plug-ins register keep the promises of their family.

    One line for each promise: ok, or what was found. Exit status: 0 all kept, 1 some broken, 2 a file that cannot be
    loaded.
    """
    for path in files:
        registry.load_plugin(path)
    parts = [(path, family, cls) for path in registry.plugins for family, cls in registry.registered_by(path)]
    for path in registry.plugins:
        if not any(path == other for other, *_ in parts):
            raise UsageError(f"{path}: registers nothing: want @register(FAMILY, NAME) on a class")
    settings = _settings(overrides, {cls.name for _, _, cls in parts})
    broken = sum(_print_verdicts(family, _made(path, family, cls, settings)) for path, family, cls in parts)
    click.echo(f"{broken} broken" if broken else "all kept")
    return int(broken > 0)


def _settings(overrides: tuple[str, ...], names: set[str]) -> dict[str, dict[str, Any]]:
    """Return the keys that were given, for each part that was named.

    overrides: NAME.KEY=VALUE. names: of the parts that the plug-ins register. Raises UsageError for any other name.
    """
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for override in overrides:
        word, equals, value = override.partition("=")
        name, dot, key = word.strip().rpartition(".")
        if not (equals and dot and name and key):
            raise UsageError(f"--set {override}: want NAME.KEY=VALUE")
        if name not in names:
            hint = registry.suggest_word(name, names)
            raise UsageError(f"--set {override}: no part {name!r} here{hint}; parts: {', '.join(sorted(names))}")
        found[name][key] = _value(value)
    return found


def _value(text: str) -> Any:
    """Return what a word means in TOML, else the word."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _made(path: str, family: str, cls: type[Any], settings: dict[str, dict[str, Any]]) -> Any:
    """Return a part with the keys that were given. Raises UsageError if one is wrong or missing."""
    from mpiqopt.config.build import build_from_config

    try:
        return build_from_config(family, {"name": cls.name, **settings[cls.name]}, path)
    except UsageError as error:
        raise UsageError(f"{error} (--set {cls.name}.KEY=VALUE gives a key)") from error


def _print_verdicts(family: str, part: Any) -> int:
    """Print what a part keeps, and return how many promises it breaks."""
    from mpiqopt.contracts.contract import check_part

    broken = 0
    for verdict in check_part(family, part):
        broken += verdict.broken
        click.echo(f"{family} {part.name}: {verdict.claim}: {'BROKEN: ' * verdict.broken}{verdict.said}")
    return broken
