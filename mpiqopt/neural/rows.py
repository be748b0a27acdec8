"""A network as a vector: its parameters are views of one flat row, which optimisers and messages work on."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from mpiqopt.neural.device import Staging, is_remote
from mpiqopt.neural.graph import Graph, trace
from mpiqopt.neural.samples import ALIGNMENT

# of the running statistics of batch normalisation, in a training step
MOMENTUM = 0.1


def _buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str, torch.Tensor, bool]]:
    """Yield the buffers with their modules and names, and True for those that are learnt: real and persistent.

    Running means are; masks and tables of positions, constants that ``state_dict`` leaves out, are not.
    """
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                learnt = buffer.is_floating_point() and name not in module._non_persistent_buffers_set
                yield module, name, buffer, learnt


class RowModule:
    """A network whose parameters, and after them its real persistent buffers, are views of one vector.

    The row of a node is (d,) = parameters in the order of ``model.parameters()``, then buffers, such as the running
    statistics of batch normalisation, in the order of modules. Buffers have no gradient: training updates them as
    PyTorch does, and they are averaged and sent like parameters.

    Parameters
    ----------
    model : the network; it is changed to work on the row.
    dtype, device : of the row.

    Attributes
    ----------
    row, gradient : (d,) tensors; ``backward`` adds to the gradient, whose part for buffers stays 0
    weights : number of parameters, the first of the d coordinates
    buffers : the rest of the row
    staging : moves rows to the device and back
    names : by name of each parameter and buffer, its slice of the row
    parameters : slices of the row, and the parameters that are there
    normalizes : True if there is batch normalisation or another buffer that training changes

    >>> net = RowModule(nn.Linear(2, 1, bias=False), torch.float64, torch.device("cpu"))
    >>> net.load(torch.tensor([1.0, 2.0], dtype=torch.float64))
    >>> net.model(torch.tensor([[3.0, 4.0]], dtype=torch.float64)).sum().backward()
    >>> net.row.tolist(), net.gradient.tolist()
    ([1.0, 2.0], [3.0, 4.0])
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self.model = model
        parameters = dict(model.named_parameters())
        buffers = [(module, name, buffer) for module, name, buffer, learnt in _buffers(model) if learnt]
        self.weights = sum(p.numel() for p in parameters.values())
        d = self.weights + sum(buffer.numel() for _, _, buffer in buffers)
        self.row = torch.empty(d, dtype=dtype, device=device)
        self.gradient = _untouched_zeros(self.row)
        self.staging = Staging(self.row)
        self.names: dict[str, slice] = {}
        self._end = 0
        for name, parameter in parameters.items():
            part = self._take(name, parameter.data)
            parameter.data = shape_like(self.row[part], parameter)
            parameter.grad = shape_like(self.gradient[part], parameter)
        modules = {module: name for name, module in model.named_modules()}
        for module, name, buffer in buffers:
            part = self._take(f"{modules[module]}.{name}".lstrip("."), buffer)
            module._buffers[name] = shape_like(self.row[part], buffer)
        for module, name, constant, learnt in list(_buffers(model)):
            if not learnt:
                number = dtype if constant.is_floating_point() else constant.dtype
                module._buffers[name] = constant.to(device, number)
        _switch_off_dropout(model)
        self.buffers = self.row[self.weights :]
        self.normalizes = bool(buffers)
        self.parameters = [(self.names[name], parameter) for name, parameter in parameters.items()]
        self._traced: dict[tuple[tuple[str, ...], ...], Graph | None] = {}
        self._modules = list(model.modules())
        self._modes: dict[tuple[bool, tuple[nn.Module, ...]], list[bool]] = {}
        self._mode: tuple[bool, tuple[nn.Module, ...]] = True, ()
        self.train(False)

    def _take(self, name: str, values: torch.Tensor) -> slice:
        """Copy values into the next coordinates of the row, and return which they are."""
        part = self.names[name] = slice(self._end, self._end + values.numel())
        self._end = part.stop
        shape_like(self.row[part], values).copy_(values)
        return part

    def trace(self, blocks: Sequence[Sequence[str]]) -> Graph | None:
        """Return ``graph.trace`` of the network. It is traced once, which takes as long as a batch or two."""
        key = tuple(map(tuple, blocks))
        if key not in self._traced:
            self._traced[key] = trace(self.model, blocks)
        return self._traced[key]

    def load(self, row: torch.Tensor | np.ndarray) -> None:
        """Copy a row (d,) into the network."""
        if isinstance(row, torch.Tensor):
            self.row.copy_(row)
        else:
            self.staging.upload(row, self.row)

    def train(self, training: bool, within: tuple[nn.Module, ...] = ()) -> None:
        """Let batch normalisation use, and update, the statistics of each batch; or its running ones.

        Dropout stays off: what it draws would depend on the order of evaluations.

        within : in these modules alone, the others use their running statistics; by default in all.
        """
        mode = training, within
        if mode == self._mode:
            return
        self._mode = mode
        if mode in self._modes:  # walking through modules takes as long as a step of a small network
            for module, trains in zip(self._modules, self._modes[mode], strict=True):
                if module.training != trains:
                    module.training = trains
            return
        self.model.train(training and not within)
        for trained in within:
            trained.train(training)
        for module in self._modules:
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.eval()
            elif isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = MOMENTUM
        self._modes[mode] = [module.training for module in self._modules]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the network makes of a batch."""
        return self.model(inputs)


def shape_like(part: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return a part of a row (k,) in the shape of the ``values`` (k numbers) that it stands for.

    Of kernels (out, in, h, w) the row has (out, h, w, in): with these "channels last" convolutions are a tenth quicker.
    """
    if values.dim() != 4:
        return part.view_as(values)
    out, channels, height, width = values.shape
    return part.view(out, height, width, channels).permute(0, 3, 1, 2)


def _untouched_zeros(row: torch.Tensor) -> torch.Tensor:
    """Return zeros like a row; in the memory of the host its pages take memory once they are written to.

    PyTorch's own zeros are written. They begin at a multiple of 64 bytes, as PyTorch's do.
    """
    if is_remote(row.device):
        return torch.zeros_like(row)
    size = row.element_size()
    spare = ALIGNMENT // size
    zeros = torch.from_numpy(np.zeros(len(row) + spare, np.dtype(f"f{size}")))
    first = -zeros.data_ptr() // size % spare
    return zeros[first : first + len(row)]


def _switch_off_dropout(model: nn.Module) -> None:
    """Let layers that drop numbers by themselves, not by a module ``Dropout``, drop none."""
    for module in model.modules():
        if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            module.dropout = 0.0
