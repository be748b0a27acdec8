"""mpiqopt config-schema"""

import json

import click


@click.command("config-schema")
@click.option("--markdown", is_flag=True, help="The same as a page for people (docs/config.md).")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Python file that registers more parts.")
def command(markdown: bool, plugins: tuple[str, ...]) -> None:
    """Print the JSON schema of a config, for editors that complete and check TOML."""
    from mpiqopt.config import schema
    from mpiqopt.registry import load_plugin

    for plugin in plugins:
        load_plugin(plugin)
    click.echo(schema.markdown() if markdown else json.dumps(schema.json_schema(), indent=2))
