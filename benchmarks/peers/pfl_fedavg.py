"""Federated averaging by pfl-research's simulated backend (tried with pfl 0.6.0).

usage: python pfl_fedavg.py SAMPLES.npz cnn|softmax ROUNDS

Its clients' samples keep their order in every epoch. Metrics of each client before and after its training, which pfl
takes in rounds of evaluation, are switched off (``evaluation_frequency``): the others do not take them.
"""

from importlib.metadata import version

import task
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByUser
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch.nn.functional import cross_entropy


class Loss(torch.nn.Module):
    """Give a network the two methods that pfl asks for."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def loss(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy."""
        return cross_entropy(self.network(features), labels)

    def metrics(self, features: torch.Tensor, labels: torch.Tensor) -> dict:
        """Return no metrics: clients are not evaluated."""
        return {}


class Evaluation(TrainingProcessCallback):
    """Evaluate on the samples held out at the end of every block of rounds."""

    def __init__(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        self.held_out, self.blocks, self.reached = (features, labels), task.Blocks(), 0.0

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        """End a block if it is time; never stop the training."""
        if (central_iteration + 1) % task.EVERY == 0:
            self.reached = task.accuracy(model.pytorch_model.network, *self.held_out)
            self.blocks.end()
        return False, Metrics()


def main() -> None:
    """Train, and print the times."""
    path, name, rounds = task.arguments()
    features, labels, *held_out = task.read_samples(path)
    clients = [Dataset(pair) for pair in zip(features, labels, strict=True)]
    data = FederatedDataset(clients.__getitem__, get_user_sampler("minimize_reuse", range(len(clients))))
    network = Loss(task.make_network(name))
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), task.SERVER_RATE))
    evaluation = Evaluation(*held_out)
    FederatedAveraging().run(
        NNAlgorithmParams(rounds, rounds + 1, task.COHORT, None),
        SimulatedBackend(data, data, [WeightByUser()]),
        model,
        NNTrainHyperParams(local_batch_size=task.BATCH, local_num_epochs=1, local_learning_rate=task.LOCAL_RATE),
        callbacks=[evaluation],
        send_metrics_to_platform=False,
    )
    evaluation.blocks.report(evaluation.reached, pfl=version("pfl"))


if __name__ == "__main__":
    main()
