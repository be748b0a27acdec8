"""mpiqopt topology"""

import click

from mpiqopt.cli.options import config_options, load_config


@click.command("topology")
@config_options
@click.option("-o", "--output", metavar="FIGURE", help="Draw the graph to this file (.png, .pdf, .svg).")
def command(config_path, overrides, plugins, output) -> None:
    """Print n, degrees, lambda and diameter of CONFIG's topology, and draw it."""
    from mpiqopt.analysis import graphs

    config = load_config(config_path, overrides, plugins)
    topology = config.topology()
    click.echo(graphs.describe(topology), nl=False)
    if output:
        graphs.draw(topology, output)
        click.echo(f"drawn to {output}")
