"""Federated averaging by Flower's simulation, Ray (tried with flwr 1.42.0 and ray 2.55.1).

usage: python flower_fedavg.py SAMPLES.npz cnn|softmax ROUNDS [ACTORS]

ACTORS: processes that train clients, one by default, each with one core of those that the process may use.
"""

import os
import sys
from importlib.metadata import version

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import task
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import randperm
from torch.nn.functional import cross_entropy

CLIENTS = ClientApp()
SERVER = ServerApp()
BLOCKS = task.Blocks()


@CLIENTS.train()
def train(message: Message, context: Context) -> Message:
    """Train one local epoch on a client's samples, in a new order."""
    config = message.content["config"]
    samples, network, optimizer = task.worker(config["samples"], config["network"])
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    features, labels = (array[context.node_config["partition-id"]] for array in samples[:2])
    order = randperm(len(labels))
    for batch, targets in zip(features[order].split(task.BATCH), labels[order].split(task.BATCH), strict=True):
        optimizer.zero_grad()
        cross_entropy(network(batch), targets).backward()
        optimizer.step()
    weight = MetricRecord({"num-examples": len(labels)})
    return Message(RecordDict({"arrays": ArrayRecord(network.state_dict()), "metrics": weight}), reply_to=message)


@SERVER.main()
def serve(grid: Grid, context: Context) -> None:
    """Run the rounds, evaluate at the end of every block and print the times."""
    path, name, rounds = task.arguments()
    features, _, *held_out = task.read_samples(path)
    network, reached = task.make_network(name), 0.0

    def evaluate(finished: int, arrays: ArrayRecord) -> None:
        nonlocal reached
        if finished and finished % task.EVERY == 0:
            network.load_state_dict(arrays.to_torch_state_dict())
            reached = task.accuracy(network, *held_out)
            BLOCKS.end()

    fraction = (task.COHORT + 0.5) / len(features)
    strategy = FedAvg(fraction_train=fraction, fraction_evaluate=0.0, min_available_nodes=len(features))
    config = ConfigRecord({"samples": path, "network": name})
    arrays = ArrayRecord(network.state_dict())
    strategy.start(grid, arrays, rounds, train_config=config, evaluate_fn=evaluate)
    BLOCKS.report(reached, flwr=version("flwr"), ray=version("ray"))


def main() -> None:
    """Start the simulation."""
    actors = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    nodes = len(task.read_samples(sys.argv[1])[0])
    resources = {"init_args": {"num_cpus": actors}, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(SERVER, CLIENTS, nodes, backend_config=resources)


if __name__ == "__main__":
    main()
