"""mpiqopt export: the network that a run has trained, for PyTorch.

$ mpiqopt export mnist.h5 -o mnist.pt
mnist.pt: cnn, 1199882 parameters; load_state_dict(torch.load("mnist.pt")) of the same network reads it
"""

import json

import click

from mpiqopt.errors import UsageError


@click.command("export")
@click.argument("file", metavar="FILE")
@click.option("-o", "--output", required=True, metavar="MODEL.pt", help="where the parameters go (replaced if there)")
def command(file: str, output: str) -> None:
    """Write the network of a result file, its last mean over nodes, as a state dict of PyTorch."""
    from mpiqopt.problems.torch import require_torch
    from mpiqopt.results.reader import final_mean, read_result

    attributes = read_result(file, columns=()).attributes
    if "network" not in attributes:
        raise UsageError(f"{file}: its problem is no network (problem.name = 'torch')")
    facts, row = json.loads(attributes["network"]), final_mean(file)
    require_torch()
    from mpiqopt.neural.export import save_state, trained_network

    network = trained_network(facts, row, attributes.get("config_folder"))
    try:
        save_state(network, output)
    except OSError as error:
        raise UsageError(f"{output}: cannot write there ({error.strerror or error})") from None
    click.echo(f"{output}: state dict of {facts['model']}, {len(row)} numbers")
