"""mpiqopt topology"""

import sys

import click

from mpiqopt.cli.options import config_options, load_config
from mpiqopt.cli.output import said
from mpiqopt.terminal import terminal_width


@click.command("topology")
@config_options
@click.option("-o", "--output", metavar="FIGURE", help="Draw the graph to this file (.png, .pdf, .svg).")
def command(config_path, overrides, plugins, output) -> None:
    """Print n, degrees, lambda and diameter of CONFIG's topology, and draw it."""
    from mpiqopt.analysis import graphs
    from mpiqopt.analysis.figures import figure_path

    if output is not None:
        figure_path(output)
    config = load_config(config_path, overrides, plugins)
    topology = config.topology()
    if output is not None:
        graphs.draw_topology(topology, output)
    click.echo(graphs.describe_topology(topology, terminal_width(sys.stdout)), nl=False)
    if output is not None:
        said(f"drawn to {output}")
