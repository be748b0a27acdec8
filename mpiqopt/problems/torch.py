"""Networks, by PyTorch: the flat vector of parameters is a node's row."""

from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError, clip_for_error_line
from mpiqopt.field import Field
from mpiqopt.problems.logistic import label_signs
from mpiqopt.problems.loss import Loss
from mpiqopt.problems.narrow import Narrow
from mpiqopt.problems.softmax import class_numbers, number_of_classes
from mpiqopt.registry import register

if TYPE_CHECKING:  # PyTorch, which problems without networks do without
    from mpiqopt.neural.block_count import BlockCount
    from mpiqopt.neural.client import NetworkClient
    from mpiqopt.neural.evaluator import NetworkEvaluator
    from mpiqopt.neural.network import NetworkKind
    from mpiqopt.neural.partial import Block
    from mpiqopt.problems.evaluators import Evaluator


@register("problem", "torch")
@dataclass(frozen=True, kw_only=True)
class Torch(Loss):
    """(1/m) sum_j loss(network(a_j; x), b_j); x has the parameters of the network, then its running statistics.

    Samples have the shape that the data give them (``data.shape``). The network is one of ``mpiqopt.neural.models`` or
    of your own. Batch normalisation: the running mean and variance are coordinates of x like others: sent, averaged
    and part of /final/x; as gradient they have the distance to those of the batch. Dropout is off. The same bits on any
    number of ranks of one kind of processor, with the same number of threads.
    """

    default_dtype = "float32"

    model: Annotated[
        str,
        Field(
            min_length=1,
            description="softmax, mlp, cnn, lenet, resnet18, mobilenetv2, transformer, or module:function of your own, "
            "called as function(shape, outputs, **options), which returns a torch.nn.Module",
        ),
    ] = "mlp"
    options: Annotated[
        dict[str, Any],
        Field(description='of the model, such as { hidden = [64], activation = "tanh" }; check lists them'),
    ] = field(default_factory=dict)
    blocks: Annotated[
        Literal["auto"] | list[str | list[str]],
        Field(
            description="for methods that train some of them: the modules of each block, from input to output, such as "
            '["stem", ["body", "norm"], "head"]; auto: those that check prints'
        ),
    ] = "auto"
    loss: Annotated[
        Literal["cross-entropy", "logistic", "squared"],
        Field(
            description="cross-entropy: of classes, or of the next character of texts; logistic: log(1 + exp(-b z)) of "
            "two labels b, one output z; squared: (z - b)^2/2 of numbers"
        ),
    ] = "cross-entropy"
    threads: Annotated[
        int, Field(ge=1, description="threads of PyTorch on each rank; other bits with another number")
    ] = 1

    @property
    def has_classes(self) -> bool:
        return self.loss != "squared"

    @property
    def draws_start(self) -> bool:
        return True

    def prepare(self, device: str, local_rank: int, folder: str) -> None:
        """Choose the device and threads of this process. Raises UsageError if PyTorch or the device is missing."""
        require_torch()
        from mpiqopt.neural.device import choose_device
        from mpiqopt.neural.network import set_up_torch

        set_up_torch(choose_device(device, local_rank), self.threads, folder)

    def outputs(self, shares: Shares) -> int:
        """Return the number of classes or characters; 1 for the other losses."""
        if self.loss != "cross-entropy":
            return 1
        return number_of_classes(shares, self.name) if shares.vocabulary is None else len(shares.vocabulary)

    def targets(self, targets: np.ndarray, shares: Shares) -> np.ndarray:
        """Return class numbers, signs, or numbers as they are, by ``loss``; of texts they are not used."""
        if self.loss == "squared":
            return super().targets(targets, shares)
        if self.loss == "logistic":
            return label_signs(targets, shares, self.name)
        return targets if shares.vocabulary is not None else class_numbers(targets, shares)

    def coordinates(self, shares: Shares) -> int:
        """Return the number of parameters and running statistics of the network."""
        return len(self._kind(shares, self.default_dtype).of_this_thread().row)

    def start(self, shares: Shares, seed: int) -> np.ndarray:
        """Return the initial parameters that the model draws, float64 (d,)."""
        return self._kind(shares, "float64").make(seed).row.cpu().numpy().astype(np.float64)

    def make_evaluator(self, shares: Shares, targets: np.ndarray) -> "NetworkEvaluator":
        """Return what evaluates the network on samples."""
        from mpiqopt.neural.evaluator import NetworkEvaluator
        from mpiqopt.neural.network import torch_device, torch_dtype
        from mpiqopt.neural.samples import tensor_samples

        dtype = targets.dtype.name
        kind = self._kind(shares, dtype)
        shape = shares.shape or kind.shape
        samples = tensor_samples(
            shares.features, targets, shape, self._targets_kind(shares), torch_dtype(dtype), torch_device()
        )
        return NetworkEvaluator(
            kind.of_this_thread, samples, shares.offsets, self.l2, self.nonconvex, shares.augmentation
        )

    def model_facts(self, shares: Shares) -> dict[str, Any]:
        """Return the model, its options, the shape of a sample and the number of outputs."""
        kind = self._kind(shares, self.default_dtype)
        return {"model": self.model, "options": self.options, "shape": kind.shape, "outputs": kind.outputs}

    def parameter_slices(self, shares: Shares) -> dict[str, slice]:
        """Return the coordinates of each parameter and running statistic, by the name that the network gives it."""
        return self._kind(shares, self.default_dtype).of_this_thread().names

    def block_counts(self, shares: Shares) -> "list[BlockCount]":
        """Return what each block of the network computes and keeps."""
        from mpiqopt.neural.counts import count_blocks

        kind = self._kind(shares, self.default_dtype)
        tokens = shares.vocabulary is not None
        return count_blocks(kind.of_this_thread(), self.row_blocks(shares), kind.shape, tokens)

    def row_blocks(self, shares: Shares) -> "list[Block]":
        """Return the blocks of the network, by the key ``blocks``. Raises UsageError if that names no such blocks."""
        from mpiqopt.neural.network_blocks import named_blocks, row_blocks

        net = self._kind(shares, self.default_dtype).of_this_thread()
        return row_blocks(net, named_blocks(net.model, self.blocks))

    def narrow(self, shares: Shares, width: float, dtype: str, masked: bool) -> Narrow:
        """Return the network of leading channels and units. Raises UsageError if this kind has none that is known."""
        from mpiqopt.neural.counts import count_blocks
        from mpiqopt.neural.evaluator import NetworkEvaluator
        from mpiqopt.neural.model import find_builder
        from mpiqopt.neural.narrow import NarrowClient, leading_coordinates, narrow_options, scale_hidden_layers
        from mpiqopt.neural.network_blocks import named_blocks, row_blocks

        wide = self._kind(shares, self.default_dtype)
        options = narrow_options(self.model, find_builder(self.model), self.options, width)
        kind = replace(self, options=options)._kind(shares, self.default_dtype)
        net = kind.make(seed=0)
        coordinates = leading_coordinates(wide.of_this_thread(), net)
        blocks = row_blocks(net, named_blocks(net.model, self.blocks))
        counts = count_blocks(net, blocks, kind.shape, shares.vocabulary is not None)

        def trainable(evaluator: "Evaluator") -> NarrowClient:
            assert isinstance(evaluator, NetworkEvaluator)  # of ``make_evaluator``
            trained = replace(kind, dtype=dtype).make(seed=0)
            scale_hidden_layers(trained, width)
            return NarrowClient(evaluator, trained, coordinates, masked)

        return Narrow(coordinates, net.weights, counts, trainable)

    def facts_for_check(self, shares: Shares) -> list[tuple[str, str]]:
        """Return the blocks of the network, the options of its builder, and whether frozen blocks can be quick."""
        from mpiqopt.neural.graph import why_untraced
        from mpiqopt.neural.model import network_facts
        from mpiqopt.neural.network_blocks import named_blocks

        model = self._kind(shares, self.default_dtype).of_this_thread().model
        blocks = named_blocks(model, self.blocks)
        why = why_untraced(model, blocks)
        slow = [("  frozen blocks", f"computed as they are, in float: the network {why}")] * bool(why)
        return network_facts(model, self.model, self.options, blocks) + slow

    def make_trainable(self, evaluator: "Evaluator") -> "NetworkClient":
        """Return what trains the network on the samples of an evaluator."""
        from mpiqopt.neural.client import NetworkClient
        from mpiqopt.neural.evaluator import NetworkEvaluator

        assert isinstance(evaluator, NetworkEvaluator)  # of ``make_evaluator``
        return NetworkClient(evaluator, self.blocks)

    def _targets_kind(self, shares: Shares) -> str:
        if self.loss == "cross-entropy":
            return "classes" if shares.vocabulary is None else "tokens"
        return "signs" if self.loss == "logistic" else "numbers"

    def _kind(self, shares: Shares, dtype: str) -> "NetworkKind":
        from mpiqopt.neural.network import network_kind

        shape = shares.shape or (int(shares.features.shape[1]),)
        if shares.vocabulary is not None:
            shape = (shape[0] - 1,)  # the last token is only predicted
        return network_kind(self.model, self.options, shape, self.outputs(shares), dtype)


def require_torch() -> None:
    """Raise UsageError unless PyTorch is installed and can be imported."""
    if find_spec("torch") is None:
        raise UsageError("problem.name = 'torch': PyTorch is not installed: pip install 'mpiqopt[torch]' (README)")
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:  # a library of it is missing
        why = clip_for_error_line(str(error).splitlines()[0], 120)
        raise UsageError(f"problem.name = 'torch': PyTorch cannot be imported: {why}") from error
