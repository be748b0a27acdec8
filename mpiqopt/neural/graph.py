"""What a network computes, layer by layer, found by tracing it (``torch.fx``), and the block that each layer is of."""

import operator
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import fx, nn
from torch.nn import functional

from mpiqopt.errors import brief_error
from mpiqopt.neural.frozen import can_fold

Node: TypeAlias = fx.Node
PASSING: tuple[type, ...] = nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout
NORMS: tuple[type, ...] = nn.BatchNorm1d, nn.BatchNorm2d
ADDITIONS = (operator.add, operator.iadd, torch.add)
# weights of a linear layer from which 8-bit numbers pay
LINEAR = 1 << 15
RECTIFIERS = (torch.relu, torch.relu_, functional.relu)


class Layer(NamedTuple):
    """One or several nodes of a traced network that are computed together.

    Attributes
    ----------
    output : the last node, whose value the layer makes
    inputs : nodes whose values it takes, the one that is added last
    core : the convolution or linear module; None for other layers
    norm : batch normalisation behind it, with running statistics
    adds : True if another value is added
    rectifies : True if ReLU comes last
    """

    output: Node
    inputs: tuple[Node, ...]
    core: nn.Module | None = None
    norm: nn.Module | None = None
    adds: bool = False
    rectifies: bool = False

    @property
    def quantised(self) -> tuple[Node, ...]:
        """The inputs that are quantised where the layer works on 8-bit numbers: none if it never does."""
        if isinstance(self.core, nn.Conv2d):
            return self.inputs
        return self.inputs[:1] if isinstance(self.core, nn.Linear) and self.core.weight.numel() >= LINEAR else ()


class Graph:
    """A traced network.

    Parameters
    ----------
    model : the network
    blocks : names of the modules of each block, from input to output

    Attributes
    ----------
    nodes : in the order of computation, from the input to the output, both included
    block : the block of each node: that of its module, otherwise the latest of its inputs
    layers : convolutions and linear layers with what can be joined to them within a block, and all other nodes by
        themselves, in the order of computation
    number : type of the parameters
    scaled : nodes whose values are quantised where the layers that take them are, in the order of blocks

    Raises
    ------
    ValueError
        If the network cannot be traced (its Python code depends on values), its blocks are not in order, or two of
        them share a parameter: one that is trained would not move in the other.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[Sequence[str]]) -> None:
        self._owner = {name: k for k, names in enumerate(blocks) for name in names}
        _check_shared(model, blocks)
        try:
            graph = fx.Tracer().trace(model)
        except Exception as error:  # whatever the user's code does with a value that is not there
            raise ValueError(f"cannot be traced: {error}") from error
        self.number = next((parameter.dtype for parameter in model.parameters()), torch.float32)
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.nodes = list(graph.nodes)
        self.block: dict[Node, int] = {}
        self._check_effects()
        for node in self.nodes:
            self.block[node] = self._block_of(node)
        self.layers = self._joined()
        self.scaled = self._scaled()

    def _check_effects(self) -> None:
        """Raise ValueError for operations that change values which others still take."""
        for node in self.nodes:
            if not node.users and node.op not in ("output", "placeholder"):
                raise ValueError(f"nothing takes the value of {node}")
            name = node.target.__name__ if callable(node.target) else str(node.target)
            changes = getattr(self.module(node), "inplace", False) or node.target is operator.iadd
            changes = changes or (node.op != "call_module" and name.endswith("_")) or node.kwargs.get("inplace", False)
            if changes and len(node.all_input_nodes[0].users) > 1:
                raise ValueError(f"{node} changes a value that others take")

    def _block_of(self, node: Node) -> int:
        """Return the block of a node. Raises ValueError if it takes a value from a later one."""
        latest = max((self.block[each] for each in node.all_input_nodes), default=0)
        if node.op not in ("call_module", "get_attr"):
            return latest
        parts = str(node.target).split(".")
        names = [".".join(parts[:k]) for k in range(len(parts) + 1)]
        own = [self._owner[name] for name in names if name in self._owner]
        if own and own[0] < latest:
            raise ValueError(f"{node.target} of block {own[0]} takes values from block {latest}")
        return own[0] if own else latest

    def module(self, node: Node) -> nn.Module | None:
        """Return the module that a node calls, None if it is no such node."""
        return self.modules[str(node.target)] if node.op == "call_module" else None

    def is_rectified(self, node: Node) -> bool:
        """Return True for values that are not negative: of ReLU, and their maxima, in any shape."""
        while isinstance(self.module(node), nn.MaxPool2d | nn.Flatten) or self.passes_on(node):
            node = node.all_input_nodes[0]
        return self.rectifies(node)

    def passes_on(self, node: Node) -> bool:
        """Return True for layers that do nothing: identities, dropout, which is always off."""
        return isinstance(self.module(node), PASSING)

    def rectifies(self, node: Node) -> bool:
        """Return True for ReLU in all its forms."""
        if node.op == "call_method":
            return node.target in ("relu", "relu_")
        return isinstance(self.module(node), nn.ReLU) or (node.op == "call_function" and node.target in RECTIFIERS)

    def adds(self, node: Node) -> bool:
        """Return True for the sum of two different values of the network."""
        called = node.op == "call_function" and node.target in ADDITIONS and not node.kwargs
        values = [each for each in node.args if isinstance(each, fx.Node) and each.op != "get_attr"]
        return called and len(set(values)) == 2

    def source(self, node: Node) -> Node:
        """Return the node whose value a node passes on: itself for most."""
        while self.passes_on(node):
            node = node.all_input_nodes[0]
        return node

    def _joined(self) -> list[Layer]:
        """Return ``layers``."""
        layers: dict[Node, Layer] = {}
        taken: set[Node] = set()
        for node in self.nodes:
            if can_fold(self.module(node)):
                layer, nodes = self._join(node, taken)
                taken.update(nodes)
                layers[layer.output] = layer
        for node in self.nodes:
            if node not in taken and not self.passes_on(node):
                layers[node] = Layer(node, tuple(map(self.source, node.all_input_nodes)))
        return [layers[node] for node in self.nodes if node in layers]

    def _join(self, core: Node, taken: set[Node]) -> tuple[Layer, list[Node]]:
        """Return a convolution or linear layer with the norm, sum and ReLU behind it, and the nodes that it is of."""
        layer = Layer(core, (self.source(core.all_input_nodes[0]),), self.module(core))
        nodes = [core]
        while not layer.rectifies and (after := self._only_user(nodes[-1])) is not None and after not in taken:
            module = self.module(after)
            if (
                isinstance(module, NORMS)
                and layer.norm is None
                and not layer.adds
                and getattr(module, "track_running_stats", False)
            ):
                layer = layer._replace(output=after, norm=module)
            elif self.adds(after) and not layer.adds:
                (other,) = (each for each in after.args if isinstance(each, fx.Node) and each is not nodes[-1])
                layer = layer._replace(output=after, inputs=(*layer.inputs, self.source(other)), adds=True)
            elif self.rectifies(after):
                layer = layer._replace(output=after, rectifies=True)
            elif not self.passes_on(after):
                break
            nodes.append(after)
        return layer, nodes

    def _only_user(self, node: Node) -> Node | None:
        """Return the only node of the same block that takes a node's value, None if there are several."""
        (user, *others) = node.users or [None]
        return user if user is not None and not others and self.block[user] == self.block[node] else None

    def _scaled(self) -> list[Node]:
        """Return ``scaled``: what convolutions take, and what is added to what they make; what linear layers take."""
        taken = {node for layer in self.layers for node in layer.quantised}
        return sorted((node for node in self.nodes if node in taken), key=self.block.__getitem__)


def _check_shared(model: nn.Module, blocks: Sequence[Sequence[str]]) -> None:
    """Raise ValueError if two blocks share a parameter."""
    owner: dict[nn.Parameter, int] = {}
    for k, names in enumerate(blocks):
        for name in names:
            for parameter in model.get_submodule(name).parameters():
                if owner.setdefault(parameter, k) != k:
                    raise ValueError(f"blocks {owner[parameter]} and {k} share a parameter")


def trace(model: nn.Module, blocks: Sequence[Sequence[str]]) -> Graph | None:
    """Return a traced network, None if it cannot be traced: then its frozen blocks are computed as they are."""
    try:
        return Graph(model, blocks)
    except ValueError:
        return None


def why_untraced(model: nn.Module, blocks: Sequence[Sequence[str]]) -> str:
    """Return in a line why a network cannot be traced, "" if it can."""
    try:
        Graph(model, blocks)
    except ValueError as error:
        return brief_error(error).removeprefix("ValueError: ")
    return ""
