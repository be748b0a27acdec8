"""mpiqopt config-schema: the keys of a config, as JSON schema or as docs/config.md.

$ mpiqopt config-schema > config.schema.json
$ mpiqopt config-schema --markdown > docs/config.md
"""

import json

import click

from mpiqopt.cli.options import load_plugins, plugin_option


@click.command("config-schema")
@click.option("--markdown", is_flag=True, help="Print a page of Markdown for readers instead (docs/config.md).")
@plugin_option
def command(markdown: bool, plugins: tuple[str, ...]) -> None:
    """Print the JSON schema of a config, for editors that complete and check TOML.

    Types, bounds, defaults and meanings of all keys, those of plug-ins included.
    """
    from mpiqopt.config import schema

    load_plugins(plugins)
    click.echo(schema.schema_markdown() if markdown else json.dumps(schema.json_schema(), indent=2))
