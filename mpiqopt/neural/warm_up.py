"""What PyTorch does at its first step, done before a step is measured."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from mpiqopt.neural.rows import RowModule
    from mpiqopt.neural.window import WindowNetwork


def warm_up(threads: int) -> None:
    """Train a tiny network, and a window of it: libraries load their code, and take their first memory, 15 MB or more.

    threads : of PyTorch, from now on
    """
    import numpy as np
    import torch  # here: those who may have nothing to warm up do without it
    from torch import nn

    from mpiqopt.neural.layers import Chain
    from mpiqopt.neural.network_blocks import named_blocks, row_blocks
    from mpiqopt.neural.partial import Frozen, Partial, Window
    from mpiqopt.neural.rows import RowModule
    from mpiqopt.neural.window import WindowNetwork

    torch.set_num_threads(threads)
    with torch.random.fork_rng(devices=[]):
        blocks: dict[str, nn.Module] = {
            f"block{k}": nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()) for k in range(3)
        }
        blocks["output"] = nn.Sequential(nn.Flatten(), nn.Linear(16 * 64, 2))
    net = RowModule(Chain(blocks), torch.float32, torch.device("cpu"))
    rows, images = row_blocks(net, named_blocks(net.model)), torch.ones(2, 16, 8, 8)
    partial = Partial(Window(1, 1), Frozen("int8", "int8"), np.zeros(rows[-1].scales.stop, np.float32))
    _train(net, images)
    window = WindowNetwork(net, rows, partial)
    _train(window, images)
    window.close()


def _train(net: "RowModule | WindowNetwork", images: "torch.Tensor") -> None:
    """Compute gradients twice."""
    import torch
    from torch.nn import functional

    net.train(True)
    for _ in range(2):
        functional.cross_entropy(net.forward(images), torch.zeros(2, dtype=torch.int64)).backward()
