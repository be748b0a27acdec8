"""mpiqopt topology: a graph in numbers and as a picture.

    $ mpiqopt topology digits.toml --set topology.nodes=20 -o graph.png

Only the table [topology] matters, but the whole config has to be right.
"""

import sys

import click

from mpiqopt.cli.options import config_options, load_config
from mpiqopt.cli.output import print_if_possible
from mpiqopt.terminal import terminal_width


@click.command("topology")
@config_options
@click.option("-o", "--output", metavar="FIGURE", help="Also draw the graph to this file (.png, .pdf, .svg).")
def command(config_path: str, overrides: tuple[str, ...], plugins: tuple[str, ...], output: str | None) -> None:
    """Print n, degrees, diameter and lambda of CONFIG's topology, and draw it if a file is given.

    lambda = |W - J| is the factor by which a gossip round reduces the disagreement of nodes, at least.
    """
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
        print_if_possible(f"drawn to {output}")
