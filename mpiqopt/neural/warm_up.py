"""What PyTorch does at its first step, done before a step is measured."""


def warm_up(threads: int) -> None:
    """Train a tiny network twice: libraries load their code, and take their first memory, some 15 MB.

    threads : of PyTorch, from now on
    """
    import torch  # here: those who may have nothing to warm up do without it
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(threads)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)
    with torch.random.fork_rng(devices=[]):
        network, images = nn.Sequential(*layers), torch.zeros(2, 3, 8, 8)
    for _ in range(2):
        functional.cross_entropy(network(images), torch.zeros(2, dtype=torch.int64)).backward()
