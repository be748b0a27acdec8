"""From a config to the objects of a run: topology, placement, data, problem, network, method."""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts
from mpiqopt.config import Config
from mpiqopt.data import shares
from mpiqopt.data.shares import Shares
from mpiqopt.data.source import Source
from mpiqopt.emulation import Machines
from mpiqopt.errors import AgreedError, UsageError, naming
from mpiqopt.metrics import Evaluator
from mpiqopt.network import Network
from mpiqopt.placement import Placement
from mpiqopt.problems.problem import Problem
from mpiqopt.rounding import significant
from mpiqopt.streams import Streams, generator, standard_normal
from mpiqopt.topologies.spectrum import Topology
from mpiqopt.transport.agreement import by_first, dealt, together

if TYPE_CHECKING:
    from mpiqopt.training import Training


class Experiment(NamedTuple):
    """All that a run or a check needs.

    ``lipschitz``: largest L_i, or None if nothing asked for it. ``derived``: the numbers that the trajectory depends on
    and that were computed rather than given.
    """

    config: Config
    problem: Problem
    network: Network
    algorithm: Algorithm
    streams: Streams
    evaluate: Evaluator
    start: np.ndarray
    shares: Shares
    lipschitz: float | None
    derived: dict[str, float]

    def close(self) -> None:
        """End what goes on in the background."""
        if self.problem.training is not None:
            self.problem.training.close()


def assemble(config: Config, transport, *, derived: dict[str, float] | None = None) -> Experiment:
    """Collective. Raises AgreedError. derived: as of the run that is continued; by default they are computed."""
    topology, small = by_first(transport, lambda: (config.topology(), _prepared(config.data)))
    if transport.size > topology.nodes:
        raise AgreedError(
            f"{config.path}: {transport.size} ranks for topology.nodes = {topology.nodes} nodes; start at most one "
            "rank for each node"
        )
    place = Placement(topology.nodes, transport.size, transport.rank)
    coded = config.algorithm.default_compressor is not None
    network = Network(
        topology,
        place,
        transport,
        config.compressor if coded else None,
        config.run.seed,
        mailboxes=config.run.transport,
        emulate=config.emulate,
    )
    held = dealt(transport, lambda: _cut(config, place)) if small else together(transport, lambda: _load(config, place))
    held = shares.scale(held, config.data, network.uncounted_mean, config.run.dtype)
    problem = together(transport, lambda: _problem(config, held))
    lipschitz = None
    automatic = "auto" in (config.algorithm.step_size, getattr(config.algorithm, "penalty", None))
    if automatic or config.record.per_node:
        own = together(transport, lambda: _lipschitz(config, problem))
        lipschitz = significant(float(transport.maximum(np.array([own.max()]))[0]), 10)
    if derived is None:
        derived = by_first(transport, lambda: _derived(config, _facts(config, topology, lipschitz, held, problem)))
    algorithm = replace(
        config.algorithm, **{name: value for name, value in derived.items() if hasattr(config.algorithm, name)}
    )
    if "contraction" in derived:
        network.contraction = derived["contraction"]
    streams = Streams(config.run.seed, place.first, problem.sizes)
    if config.emulate.of_machines:
        problem.machines = Machines(config.emulate, place, config.run.seed)
    if algorithm.trains:
        problem.training = _training(algorithm, problem, streams, transport)
    return Experiment(
        config=config,
        problem=problem,
        network=network,
        algorithm=algorithm,
        streams=streams,
        evaluate=Evaluator(
            problem,
            network,
            config.record.mapping_step,
            lipschitz if config.record.per_node else None,
            held.solution if held.solution is not None and held.solution.shape == (problem.d,) else None,
        ),
        start=_start(config, problem, transport),
        shares=held,
        lipschitz=lipschitz,
        derived=derived,
    )


def _training(algorithm: Algorithm, problem: Problem, streams: Streams, transport) -> "Training":
    from mpiqopt.training import BackgroundTraining, Training

    if algorithm.in_background:
        return BackgroundTraining(problem, streams, problem.machines, transport.processors)
    return Training(problem, streams, problem.machines)


def _facts(config: Config, topology: Topology, lipschitz: float | None, held: Shares, problem: Problem) -> Facts:
    from mpiqopt.codec import Codec

    codec = Codec(config.compressor, problem.d, problem.dtype, config.run.seed, topology.nodes)
    return Facts(lipschitz, float(held.sizes.mean()), topology, codec.omega, codec.damping, codec.delta)


def _derived(config: Config, facts: Facts) -> dict[str, float]:
    """Fields that were automatic, and lambda where gossip uses it.

    Of rank 0, for all and for the run's continuation: processors may differ in the last bit of a derived number.
    """
    given = config.algorithm
    with naming(config.path):
        resolved = given.resolve(facts)
    numbers = {name: value for name, value in vars(resolved).items() if getattr(given, name) != value}
    if getattr(resolved, "chebyshev", False):
        numbers["contraction"] = facts.topology.contraction
    return numbers


def _prepared(source: Source) -> bool:
    """Do what comes before a table is opened; True if rank 0 opens it for all."""
    source.prepare()
    return source.is_small()


def _load(config: Config, place: Placement) -> Shares:
    with naming(config.path):
        table = config.data.open(config.run.seed)
        return shares.load(config.data, table, place, config.run.seed)


def _cut(config: Config, place: Placement) -> list[Shares]:
    """The shares of every rank."""
    whole = _load(config, Placement(place.nodes))
    return [shares.cut(whole, replace(place, rank=rank)) for rank in range(place.ranks)]


def _problem(config: Config, held: Shares) -> Problem:
    with naming(config.path):
        return Problem(config.problem, held, config.regularizer, config.run.dtype)


def _lipschitz(config: Config, problem: Problem) -> np.ndarray:
    with naming(config.path):
        return problem.lipschitz()


def _start(config: Config, problem: Problem, transport) -> np.ndarray:
    """x_0 (hosted, d), equal at all nodes."""
    kind = config.run.start
    if kind == "zero":
        point = np.zeros(problem.d)
    elif kind == "normal":
        point = standard_normal(generator(config.run.seed, "start"), problem.d) / np.sqrt(problem.d)
    else:
        point = by_first(transport, lambda: _earlier(config, problem.d))
    return np.repeat(point.astype(problem.dtype)[None], problem.hosted, axis=0)


def _earlier(config: Config, d: int) -> np.ndarray:
    """The mean iterate (d,) at the end of an earlier run."""
    from mpiqopt.results.reader import final_mean

    where = f"{config.path}: run.start = {config.run.start!r}"
    try:
        point = final_mean(config.start_file)
    except UsageError as error:
        raise UsageError(f"{where}: want zero, normal or a result file: {error}") from error
    if point.shape != (d,):
        raise UsageError(f"{where}: has {len(point)} coordinates, want {d}")
    return point
