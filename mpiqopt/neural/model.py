"""From the name in ``problem.model`` to a network with its initial parameters; the blocks of a network.

>>> model = make_model("mlp", (64,), 10, {"hidden": [16]}, seed=0)
>>> describe(model)
[('hidden1', 1040), ('output', 170)]
"""

import math
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from inspect import signature
from typing import Any

import torch
from torch import nn

from mpiqopt.errors import LINE, UsageError, brief_error, quote_in_error
from mpiqopt.memory import require_memory
from mpiqopt.neural import models
from mpiqopt.neural.layers import Chain, ShapeError
from mpiqopt.neural.models import model_names
from mpiqopt.neural.options import KEY, OptionError, check_options, describe_options
from mpiqopt.registry import suggest_word, wants_traceback
from mpiqopt.streams import random_stream

Build = Callable[..., nn.Module]


def make_model(
    name: str, shape: tuple[int, ...], outputs: int, options: dict[str, Any], seed: int, folder: str | None = None
) -> nn.Module:
    """Return a network on the CPU in torch's default dtype, its initial parameters drawn from ``seed`` alone.

    Parameters
    ----------
    name : a built-in network, or "module:function" of a user: ``function(shape, outputs, **options)``.
    shape : of one sample, as (1, 28, 28) for images, (64,) for rows, (T,) for texts of T tokens.
    outputs : how many numbers the network returns a sample: classes; for texts how many a token: the vocabulary.
    options : keyword arguments of the builder.
    seed : ``run.seed``, 0 to 2^63 - 1. Built-in networks draw from the stream "start", with the same bits on every
        machine; networks of users from torch's generator, seeded from that stream and afterwards as it was.
    folder : of the config, where a user's module is looked for, too, before PYTHONPATH.

    Raises
    ------
    UsageError: no such network, samples that do not fit it, wrong options, a user's function that fails or returns no
        nn.Module.
    MemoryError: a built-in network that this machine has too little memory for.
    """
    stream = random_stream(seed, "start")
    with torch.random.fork_rng(devices=[]), _importable(folder):
        # not torch.manual_seed, which seeds the generators of accelerators, too
        torch.default_generator.manual_seed(int(stream.integers(2**32)))
        build = find_builder(name)
        check_options(build, options)
        if ":" not in name:
            _require_space(name, build, shape, outputs, options)
        model = _built(name, build, shape, outputs, options)
    if isinstance(model, Chain):
        model.draw(stream)
    return model


def blocks(model: nn.Module) -> list[list[str]]:
    """Return the blocks of a network from input to output, each a list of names of modules.

    What its method ``blocks`` says; for a network without one each child that has parameters, in order, or the whole
    network (the name "") if it has parameters of its own, or none in any child. A child with buffers alone, such as a
    norm without weights, is of the block before it.
    """
    if hasattr(model, "blocks"):
        return model.blocks()
    children = [(name, child) for name, child in model.named_children() if child.state_dict()]
    trained = [name for name, child in children if any(True for _ in child.parameters())]
    if not trained or any(True for _ in model.parameters(recurse=False)):
        return [[""]]
    found: list[list[str]] = [[]]
    for name, _ in children:
        if name in trained and not set(found[-1]).isdisjoint(trained):
            found.append([])
        found[-1].append(name)
    return found


def describe(model: nn.Module, parts: list[list[str]] | None = None) -> list[tuple[str, int]]:
    """Return the name of each block, in order, and how many parameters it has. parts: the blocks, if not ``blocks``."""
    found = blocks(model) if parts is None else parts
    return [("+".join(names) or "all", _count_parameters(model, names)) for names in found]


def network_facts(
    model: nn.Module, name: str, options: dict[str, Any], parts: list[list[str]] | None = None
) -> list[tuple[str, str]]:
    """Return what ``mpiqopt check`` prints of a network, as (name, text): its blocks, and the options of its builder.

    name, options : as ``make_model`` was given them. parts : the blocks, if not ``blocks``.
    """
    statistics = sum(buffer.numel() for buffer in model.buffers() if buffer.is_floating_point())
    lines = [(name, f"{count} parameters") for name, count in describe(model, parts)]
    lines += [("buffers", f"{statistics} numbers, such as running statistics")] * bool(statistics)
    lines += [(f"options.{option}", text) for option, text in describe_options(find_builder(name), options)]
    return [("network", name), *((f"  {part}", text) for part, text in lines)]


def _count_parameters(model: nn.Module, names: list[str]) -> int:
    """Return how many parameters the named modules have, shared ones counted once."""
    tensors = {id(tensor): tensor for name in names for tensor in model.get_submodule(name).parameters()}
    return sum(tensor.numel() for tensor in tensors.values())


@contextmanager
def _importable(folder: str | None) -> Iterator[None]:
    """Let modules in a folder be imported inside, as if a script there was run."""
    before = sys.path[:]
    sys.path[:0] = [] if folder is None else [folder or "."]
    try:
        yield
    finally:
        sys.path[:] = before


def find_builder(name: str) -> Build:
    """Return the function that makes a network. Raises UsageError if there is none of that name."""
    where = f"problem.model = {quote_in_error(name)}"
    if ":" in name:
        return _find_function(where, name)
    known = model_names()
    if name not in known:
        raise UsageError(
            f"{where}: unknown{suggest_word(name, known)}; known: {', '.join(known)}, or 'module:function'"
        )
    return import_module(f"{models.__name__}.{name}").build


def _find_function(where: str, name: str) -> Build:
    """Return a user's function of a module. Raises UsageError if it cannot be imported or called with two arguments."""
    module_name, _, function_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), function_name)):
        raise UsageError(f"{where}: want 'module:function', such as 'my_models:small_cnn' for my_models.py")
    with _told_as_usage_error(f"{where}: importing {module_name}: "):
        module = import_module(module_name)
    build = getattr(module, function_name, None)
    if not callable(build):
        found = f"has no {function_name!r}" if build is None else f"{function_name!r} is no function"
        raise UsageError(f"{where}: {module_name} ({getattr(module, '__file__', 'built in')}): {found}")
    try:
        signature(build).bind_partial((), 1)
    except (TypeError, ValueError):  # the second where Python knows no signature
        raise UsageError(f"{where}: want a function (shape, outputs, **options)") from None
    return build


@contextmanager
def _told_as_usage_error(where: str) -> Iterator[None]:
    """Raise UsageError, one line that begins with ``where``, for whatever goes wrong inside."""
    try:
        yield
    except (UsageError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        if wants_traceback():
            traceback.print_exception(error)
        raise UsageError(where + brief_error(error, LINE - len(where))) from error


def _built(name: str, build: Build, shape: tuple[int, ...], outputs: int, options: dict[str, Any]) -> nn.Module:
    """Call a builder. Raises UsageError if it fails, or returns something else than a network with parameters."""
    where = f"problem.model = {quote_in_error(name)}: "
    with _told_as_usage_error(f"{where}{KEY} = {quote_in_error(options)}: "):
        try:
            model = build(shape, outputs, **options)
        except ShapeError as error:
            raise UsageError(f"{where}samples have shape {shape}, {error}") from error
        except OptionError as error:
            raise UsageError(f"{KEY}: {error}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"{where}the function returned {quote_in_error(model)}, want a torch.nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(f"{where}the network has no parameters to train")
    return model


def _require_space(name: str, build: Build, shape: tuple[int, ...], outputs: int, options: dict[str, Any]) -> None:
    """Raise MemoryError if a built-in network does not fit in memory, before it is made: on "meta" it takes none."""
    with torch.device("meta"):
        model = _built(name, build, shape, outputs, options)
    parameters = sum(math.prod(parameter.shape) for parameter in model.parameters())
    require_memory(4 * parameters, f"problem.model = {name!r} of {parameters} parameters")
