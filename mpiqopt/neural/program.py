"""What a network with a trained window of blocks computes, step by step."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn

from mpiqopt.memory import trim_memory
from mpiqopt.neural.frozen import FrozenLayer, MaxPool, Rectify, Value, dequantise, folded, quantise, scale_and_shift
from mpiqopt.neural.graph import NORMS, Graph, Layer
from mpiqopt.neural.int8 import Grid, has_bfloat16, make_grid, why_not
from mpiqopt.neural.partial import Partial

Values = dict[fx.Node, Any]
# frozen layers, by all that they are made of but the row: node, whether gradients pass, grids of input and output
Layers = dict[tuple[fx.Node, bool, Grid | None, Grid | None], FrozenLayer]
# weights of a layer whose float copy is given back at once: else that of all layers would be there together
LARGE = 1 << 18


class Step(NamedTuple):
    """A step of a program.

    Attributes
    ----------
    output : the node whose value it makes
    inputs : whose values it takes
    compute : makes it of all values
    learns : False without autograd
    """

    output: fx.Node
    inputs: tuple[fx.Node, ...]
    compute: Callable[[Values], Any]
    learns: bool = True


class Program:
    """A network whose window is trained: blocks before it run without autograd, those behind keep masks alone.

    Parameters
    ----------
    graph : of the network
    trained : what is trained
    inputs : the first batch; scales that are not known are taken from it
    layers : frozen ones of the same row; what is missing is added, unless it hangs on the first batch
    """

    def __init__(self, graph: Graph, trained: Partial, inputs: torch.Tensor, layers: Layers) -> None:
        self._graph, self._window, self._frozen = graph, trained.window, trained.frozen
        self._position = {node: k for k, node in enumerate(graph.scaled)}
        self._largest: dict[int, list[torch.Tensor]] = {}
        number = graph.number
        works = inputs.device.type == "cpu" and number == torch.float32 and not why_not()
        joined = {layer.output: layer for layer in graph.layers}
        self._quantised = {node for node, layer in joined.items() if works and self._is_int8(layer)}
        self._number = torch.bfloat16 if has_bfloat16() else torch.float32
        largest, unknown = self._known(trained.scales, [joined[node] for node in self._quantised])
        if unknown:
            largest |= self._measured(unknown, inputs)
        self._grids = {
            node: make_grid(each, not graph.is_rectified(node), trained.frozen.bits) for node, each in largest.items()
        }
        self._made = {} if unknown else layers
        self._taken: dict[fx.Node, list[bool]] = {}  # for each that takes a value, whether it takes it quantised
        outputs = {node for node in graph.nodes if node in joined or self._side(node) == 0}
        steps = [(node, joined.get(node)) for node in graph.nodes if node in outputs and not graph.passes_on(node)]
        for node, layer in steps:
            for taken in self._inputs(node, layer):
                whole = layer is not None and node in self._quantised and taken in layer.quantised
                self._taken.setdefault(taken, []).append(whole)
        self._new = 0
        self._stages = _stages([self._step(node, layer, number) for node, layer in steps])
        if self._new > LARGE:
            trim_memory()

    def __call__(self, inputs: torch.Tensor) -> Any:
        """Return what the network makes of a batch."""
        return _run(self._stages, inputs)

    def observed(self) -> np.ndarray:
        """Return the mean over batches of the largest magnitude of each tensor of the window, float32 (S,)."""
        found = np.zeros(len(self._position), np.float32)
        for position, largest in self._largest.items():
            found[position] = torch.stack(largest).double().mean()
        return found

    def _side(self, node: fx.Node) -> int:
        """Return -1 for nodes before the window, 0 in it, 1 behind it."""
        block = self._graph.block[node]
        return (block > self._window.last) - (block < self._window.first)

    def _is_int8(self, layer: Layer) -> bool:
        """Return True for layers that are to work on 8-bit numbers."""
        side, frozen = self._side(layer.output), self._frozen
        if not side or not layer.quantised or (side > 0 and isinstance(layer.core, nn.Linear)):
            return False
        return (frozen.before if side < 0 else frozen.after) == "int8"

    def _inputs(self, node: fx.Node, layer: Layer | None) -> tuple[fx.Node, ...]:
        """Return the nodes whose values a step takes: those of a layer, of a single node in the window."""
        if self._side(node) and layer is not None:
            return layer.inputs
        return tuple(map(self._graph.source, node.all_input_nodes))

    # What is quantised

    def _known(self, scales: np.ndarray, layers: list[Layer]) -> tuple[dict[fx.Node, float], list[fx.Node]]:
        """Return the largest magnitude of each tensor that layers of 8 bits take, and those whose is not known."""
        wanted = {node for layer in layers for node in layer.quantised}
        largest = {node: float(scales[self._position[node]]) for node in wanted}
        return largest, [node for node, scale in largest.items() if not scale > 0]

    def _measured(self, wanted: list[fx.Node], inputs: torch.Tensor) -> dict[fx.Node, float]:
        """Return the largest magnitude of some nodes' values, of the network as it is evaluated."""
        found: dict[fx.Node, float] = {}

        def compute(node: fx.Node, plain: Callable[[Values], Any], values: Values) -> Any:
            value = plain(values)
            if node in wanted:
                found[node] = largest_magnitude(value, signed=True).item()
            return value

        training = [module for module in self._graph.modules.values() if module.training]
        for module in training:
            module.training = False
        nodes = [node for node in self._graph.nodes if not self._graph.passes_on(node)]
        steps = [
            Step(node, self._inputs(node, None), partial(compute, node, self._plain(node)), learns=False)
            for node in nodes
        ]
        _run(_stages(steps), inputs)
        trim_memory()
        for module in training:
            module.training = True
        return found

    # Steps

    def _step(self, node: fx.Node, layer: Layer | None, number: torch.dtype) -> Step:
        """Return what computes a node, or a layer that is not trained."""
        side, inputs = self._side(node), self._inputs(node, layer)
        if side and layer is not None and layer.core is not None:
            return Step(node, inputs, self._frozen_layer(layer, number), side > 0)
        if not side:
            return Step(node, inputs, self._trained(node))
        return Step(node, inputs, self._frozen_node(node), side > 0)

    def _frozen_layer(self, layer: Layer, number: torch.dtype) -> Callable[[Values], Any]:
        """Return what computes a convolution or linear layer that is not trained."""
        assert layer.core is not None
        node = layer.output
        int8, behind = node in self._quantised, self._side(node) > 0
        grid = self._grids[layer.inputs[0]] if int8 else None
        out = self._grids[node] if int8 and self._stays_quantised(node) else None
        key = node, behind, grid, out
        made = self._made.get(key)
        if made is None:
            passing = (self._number if int8 else number) if behind else None
            made = self._made[key] = self._make(layer, passing, grid, out)

        def compute(values: Values) -> Any:
            x, *others = (
                self._as_quantised(each, values) if int8 and each in layer.quantised else Value(values[each])
                for each in layer.inputs
            )
            added = others[0] if others else None
            if added is not None and out is None:
                added = dequantise(added)
            y = made(x, added)
            return y if y.q is not None else y.tensor

        return compute

    def _make(self, layer: Layer, passing: torch.dtype | None, grid: Grid | None, out: Grid | None) -> FrozenLayer:
        """Return a frozen layer. grid, out : of its input and output; passing : type of the gradients that pass."""
        assert layer.core is not None
        made = FrozenLayer(folded(layer.core, layer.norm), layer.rectifies, passing)
        self._new += layer.core.weight.numel()
        if grid is not None:
            made.quantise(grid, self._frozen.bits, out)
            if layer.core.weight.numel() > LARGE:
                trim_memory()
        return made

    def _stays_quantised(self, node: fx.Node) -> bool:
        """Return True if all that take a value take it quantised."""
        return all(self._taken.get(node, [False]))

    def _as_quantised(self, node: fx.Node, values: Values) -> Value:
        """Return a value on its grid; it stays so if nobody else takes the numbers."""
        value = values[node]
        if isinstance(value, Value):
            return value
        quantised = quantise(value, self._grids[node], self._number)
        if self._stays_quantised(node):
            values[node] = quantised
        return quantised

    def _trained(self, node: fx.Node) -> Callable[[Values], Any]:
        """Return what computes a node of the window."""
        plain = self._plain(node)
        if node not in self._position:
            return plain
        seen = self._largest.setdefault(self._position[node], [])
        signed = not self._graph.is_rectified(node)

        def observed(values: Values) -> Any:
            value = plain(values)
            seen.append(largest_magnitude(value.detach(), signed))
            return value

        return observed

    def _frozen_node(self, node: fx.Node) -> Callable[[Values], Any]:
        """Return what computes a node outside the window that is no convolution or linear layer."""
        graph, module = self._graph, self._graph.module(node)
        if graph.rectifies(node):
            return lambda values: Rectify.apply(values[graph.source(node.all_input_nodes[0])])
        if isinstance(module, nn.MaxPool2d) and not module.return_indices:
            return lambda values: MaxPool.apply(values[graph.source(node.all_input_nodes[0])], module)
        if isinstance(module, NORMS) and getattr(module, "track_running_stats", False):
            scale, shift = scale_and_shift(module)

            def normalise(values: Values) -> Any:  # autograd keeps the input of ``batch_norm``, but not of this
                x = values[graph.source(node.all_input_nodes[0])]
                channels = (-1, *[1] * (x.dim() - 2))
                return torch.addcmul(shift.view(channels), x, scale.view(channels))

            return normalise
        return self._plain(node)

    def _plain(self, node: fx.Node) -> Callable[[Values], Any]:
        """Return what computes a node as the network itself does."""
        source = self._graph.source
        if node.op == "placeholder":  # of inputs after the first the default
            return lambda values: values[node] if node in values else node.args[0]
        if node.op == "get_attr":
            path, _, name = str(node.target).rpartition(".")
            return lambda values: getattr(self._graph.modules[path], name)
        module = self._graph.module(node)
        if module is not None and node.args == tuple(node.all_input_nodes[:1]) and not node.kwargs:
            taken = source(node.all_input_nodes[0])  # most nodes; looking through arguments takes as long as a layer
            return lambda values: module(values[taken])

        def compute(values: Values) -> Any:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda each: values[source(each)])
            if node.op == "output":
                return args[0]
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            called: Any = node.target if module is None else module
            return called(*args, **kwargs)

        return compute


def largest_magnitude(values: torch.Tensor, signed: bool) -> torch.Tensor:
    """Return max |x|, a scalar. Two passes: PyTorch's one-pass norm and aminmax take several times longer."""
    return torch.maximum(values.amax(), -values.amin()) if signed else values.amax()


class Stage(NamedTuple):
    """Steps that follow each other, all with autograd or without, and the values that nobody takes after each."""

    learns: bool
    steps: list[tuple[Step, list[fx.Node]]]


def _stages(steps: list[Step]) -> list[Stage]:
    """Return steps as stages."""
    last = {node: k for k, step in enumerate(steps) for node in (step.output, *step.inputs)}
    forgotten: list[list[fx.Node]] = [[] for _ in steps]
    for node, k in last.items():
        forgotten[k].append(node)
    pairs = zip(steps, forgotten, strict=True)
    return [Stage(learns, list(group)) for learns, group in groupby(pairs, lambda pair: pair[0].learns)]


def _run(stages: list[Stage], inputs: torch.Tensor) -> Any:
    """Return the value of the last step. inputs: of the first one."""
    values: Values = {stages[0].steps[0][0].output: inputs}
    value: Any = inputs
    for learns, steps in stages:
        with nullcontext() if learns else torch.no_grad():
            for step, forgotten in steps:
                value = values[step.output] = step.compute(values)
                for node in forgotten:
                    del values[node]
    return value
