"""Federated averaging in a plain PyTorch loop: the floor that federated_speed.py compares frameworks with.

usage: python bare_fedavg.py SAMPLES.npz cnn|softmax ROUNDS
"""

import torch
from peers import task
from torch.nn.functional import cross_entropy


def train(
    network: torch.nn.Module, parameters: list[torch.Tensor], features: torch.Tensor, labels: torch.Tensor
) -> None:
    """Train one local epoch on a client's samples, in a new order."""
    order = torch.randperm(len(labels))
    for batch, targets in zip(features[order].split(task.BATCH), labels[order].split(task.BATCH), strict=True):
        gradient = torch.autograd.grad(cross_entropy(network(batch), targets), network.parameters())
        torch._foreach_add_(parameters, gradient, alpha=-task.LOCAL_RATE)


def main() -> None:
    """Train, and print the times."""
    path, name, rounds = task.arguments()
    features, labels, *held_out = task.read_samples(path)
    network, blocks = task.make_network(name), task.Blocks()
    parameters = [parameter.data for parameter in network.parameters()]
    point = [parameter.clone() for parameter in parameters]
    for finished in range(1, rounds + 1):
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for client in torch.randperm(len(labels))[: task.COHORT]:
            torch._foreach_copy_(parameters, point)
            train(network, parameters, features[client], labels[client])
            torch._foreach_add_(total, parameters)
        torch._foreach_mul_(total, 1 / task.COHORT)
        torch._foreach_lerp_(point, total, task.SERVER_RATE)
        if finished % task.EVERY == 0:
            torch._foreach_copy_(parameters, point)
            reached = task.accuracy(network, *held_out)
            blocks.end()
    blocks.report(reached)


if __name__ == "__main__":
    main()
