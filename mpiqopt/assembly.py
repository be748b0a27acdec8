"""From a config to the objects of a run: topology, placement, data, problem, network, method."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts
from mpiqopt.config import Config
from mpiqopt.data import shares
from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.metrics import Evaluator
from mpiqopt.network import Network
from mpiqopt.placement import Placement
from mpiqopt.problems.problem import Problem
from mpiqopt.streams import Streams, generator

T = TypeVar("T")


@dataclass(frozen=True)
class Experiment:
    """All that a run or a check needs. ``lipschitz``: largest L_i, or None if nothing asked for it."""

    config: Config
    problem: Problem
    network: Network
    algorithm: Algorithm
    streams: Streams
    evaluate: Evaluator
    start: np.ndarray
    shares: Shares
    lipschitz: float | None


def together(transport, make: Callable[[], T]) -> T:
    """Do something that may fail on some ranks only; if it fails on one, all raise the same UsageError."""
    result, message = None, None
    try:
        result = make()
    except UsageError as error:
        message = str(error)
    message = transport.first_error(message)
    if message is not None:
        raise UsageError(message)
    return result


def assemble(config: Config, transport, *, need_lipschitz: bool = False) -> Experiment:
    """Collective. Raises the same UsageError on every rank."""
    topology = together(transport, config.topology)
    if transport.size > topology.nodes:
        raise UsageError(
            f"{config.path}: {transport.size} ranks for topology.nodes = {topology.nodes} nodes; start at most one "
            "rank for each node"
        )
    place = Placement(topology.nodes, transport.size, transport.rank)
    together(transport, lambda: config.data.prepare() if transport.rank == 0 else None)
    network = Network(topology, place, transport)
    held = together(transport, lambda: _load(config, place))
    held = shares.scale(held, config.data, network.uncounted_mean)
    problem = together(transport, lambda: _problem(config, held))
    lipschitz = None
    if need_lipschitz or config.algorithm.step_size == "auto" or config.record.per_node:
        lipschitz = together(transport, problem.lipschitz)
        lipschitz = float(transport.maximum(np.array([lipschitz.max()]))[0])
    algorithm = _agreed(config.algorithm.resolve(Facts(lipschitz, float(held.sizes.mean()), topology)), transport)
    return Experiment(
        config=config,
        problem=problem,
        network=network,
        algorithm=algorithm,
        streams=Streams(config.run.seed, place.first, problem.sizes),
        evaluate=Evaluator(
            problem,
            network,
            config.record.mapping_step,
            lipschitz if config.record.per_node else None,
            held.solution if held.solution is not None and held.solution.shape == (problem.d,) else None,
        ),
        start=together(transport, lambda: _start(config, problem)),
        shares=held,
        lipschitz=lipschitz,
    )


def _agreed(algorithm: Algorithm, transport) -> Algorithm:
    """Rank 0's numbers for all: ranks on different processors might round a derived one differently, and hang."""
    numbers = {k: v for k, v in vars(algorithm).items() if isinstance(v, int | float) and not isinstance(v, bool)}
    values = transport.broadcast(np.array(list(numbers.values()), np.float64)).tolist()
    return replace(algorithm, **{k: type(v)(n) for (k, v), n in zip(numbers.items(), values, strict=True)})


def _load(config: Config, place: Placement) -> Shares:
    try:
        table = config.data.open(config.run.seed)
        return shares.load(config.data, table, place, config.run.seed, np.dtype(config.run.dtype))
    except UsageError as error:
        raise UsageError(f"{config.path}: {error}") from error


def _problem(config: Config, held: Shares) -> Problem:
    try:
        return Problem(config.problem, held, config.regularizer, config.run.dtype)
    except UsageError as error:
        raise UsageError(f"{config.path}: {error}") from error


def _start(config: Config, problem: Problem) -> np.ndarray:
    """x_0 (hosted, d), equal at all nodes."""
    kind = config.run.start
    if kind == "zero":
        point = np.zeros(problem.d)
    elif kind == "normal":
        point = generator(config.run.seed, "start").standard_normal(problem.d) / np.sqrt(problem.d)
    else:
        from pathlib import Path

        from mpiqopt.results.reader import final_mean

        try:
            point = final_mean(Path(config.path).parent / kind)
        except UsageError as error:
            raise UsageError(
                f"{config.path}: run.start = {kind!r}: want zero, normal or a result file: {error}"
            ) from error
        if point.shape != (problem.d,):
            raise UsageError(f"{config.path}: run.start = {kind!r}: has {len(point)} coordinates, want {problem.d}")
    return np.repeat(point.astype(problem.dtype)[None], problem.hosted, axis=0)
