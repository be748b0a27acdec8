"""From a config to the objects of a run: topology, placement, data, problem, network, method."""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts
from mpiqopt.config.config import Config
from mpiqopt.data import shares
from mpiqopt.data.shares import Shares
from mpiqopt.data.source import Source
from mpiqopt.emulation.machines import Machines
from mpiqopt.errors import AgreedError, UsageError, naming, quoted
from mpiqopt.files.inputs import require_file
from mpiqopt.memory import require_memory
from mpiqopt.network.gossip import Schedule
from mpiqopt.network.network import Network
from mpiqopt.network.node_mean import NodeMean
from mpiqopt.placement.placement import Placement
from mpiqopt.problems.problem import Problem
from mpiqopt.run import constants
from mpiqopt.run.constants import Constants
from mpiqopt.run.metrics import Evaluator
from mpiqopt.streams import Streams, generator, standard_normal
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.agreement import by_first, dealt, together
from mpiqopt.transport.transport import Transport

if TYPE_CHECKING:
    pass


# Keys of a method whose automatic values are made of the data.
AUTOMATIC = ("step_size", "penalty", "batch_size", "large_batch_size", "epoch_length")


class Experiment(NamedTuple):
    """All that a run or a check needs.

    ``derived``: the numbers that the trajectory depends on
    and that were computed rather than given.
    """

    config: Config
    problem: Problem
    network: Network
    mean: NodeMean
    algorithm: Algorithm
    streams: Streams
    evaluate: Evaluator
    start: np.ndarray
    shares: Shares
    constants: Constants
    derived: dict[str, float]

    @property
    def watches_consensus(self) -> bool:
        """Whether ``run.tolerance`` bounds how far nodes are apart, too."""
        return _watches_consensus(self.config)

    def close(self) -> None:
        """End what goes on in the background."""
        if self.problem.training is not None:
            self.problem.training.close()


def assemble(config: Config, transport, *, derived: dict[str, float] | None = None) -> Experiment:
    """Collective. Raises AgreedError. derived: as of the run that is continued; by default they are computed."""
    topology, small = by_first(transport, lambda: _begun(config, transport.size))
    place = Placement(topology.nodes, transport.size, transport.rank)
    coded = config.algorithm.default_compressor is not None
    mean = NodeMean(place, transport)
    held = (
        dealt(transport, lambda: _cut(config, place, topology))
        if small
        else together(transport, lambda: _load(config, place, topology))
    )
    held = shares.scale(held, config.data, mean, config.run.dtype)
    _require_features(config, held, transport)
    problem = together(transport, lambda: _problem(config, held, place))
    if config.run.stop_accuracy is not None and not problem.has_accuracy:
        raise AgreedError(
            f"{config.path}: run.stop_accuracy = {config.run.stop_accuracy:g}: wants data.test_fraction > 0 (or "
            "data.test_path) and a problem with classes (logistic, softmax)"
        )
    start = _start(config, problem, place, transport)
    known = _constants(config, problem, start, mean, transport)
    if derived is None:
        derived = by_first(transport, lambda: _derived(config, facts_of(config, topology, known, held, problem)))
    algorithm = replace(
        config.algorithm, **{name: value for name, value in derived.items() if hasattr(config.algorithm, name)}
    )
    network = Network(
        topology,
        place,
        transport,
        compressor=config.compressor if coded else None,
        seed=config.run.seed,
        schedule=Schedule(algorithm.mixed_variables, algorithm.rounds_per_variable()),
        interval=tuple(derived["interval"]) if "interval" in derived else None,
        mailboxes=config.run.transport,
        emulate=config.emulate,
    )
    streams = Streams(config.run.seed, place.first, problem.sizes)
    if algorithm.trains:
        problem.make_trainer(streams, transport.processors if algorithm.in_background else None)
    return Experiment(
        config=config,
        problem=problem,
        network=network,
        mean=mean,
        algorithm=algorithm,
        streams=streams,
        evaluate=Evaluator(
            problem,
            place,
            transport,
            mean,
            config.record.mapping_step,
            known.lipschitz if config.record.per_node else None,
            held.solution if held.solution is not None and held.solution.shape == (problem.d,) else None,
        ),
        start=start,
        shares=held,
        constants=known,
        derived=derived,
    )


def _require_features(config: Config, held: Shares, transport) -> None:
    """Raise AgreedError if all features of all nodes are 0, as constant ones are when scaled, and the loss needs some.

    A mean of zeros is one.
    """
    (largest,) = transport.maximum(np.array([shares.magnitude(held.features)])).tolist()
    if largest == 0 and config.problem.curvature:
        why = "each is constant, and data.scale = 'standard'" if config.data.scale == "standard" else "all of them"
        raise AgreedError(f"{config.path}: data: features are 0 in every sample ({why}): nothing can be fitted to them")


def _wants_constants(config: Config) -> str:
    """The key that is to blame for the time that they take; "" if there is none."""
    for key in AUTOMATIC:
        if getattr(config.algorithm, key, None) == "auto":
            return f"algorithm.{key} = 'auto'"
    if config.record.per_node:
        return "record.per_node = true"
    return "run.tolerance_on = 'nodes'" if _watches_consensus(config) else ""


def _watches_consensus(config: Config) -> bool:
    return config.run.tolerance is not None and config.run.tolerance_on == "nodes" and not config.algorithm.common_point


def _constants(config: Config, problem: Problem, start: np.ndarray, mean: NodeMean, transport: Transport) -> Constants:
    """Raises AgreedError, with the key that wants them, where the loss knows no bound of its curvature."""
    wanted = _wants_constants(config)
    if not wanted and not (config.algorithm.own_automatic() and problem.loss.curvature is not None):
        return Constants()
    if problem.loss.curvature is None:
        raise AgreedError(
            f"{config.path}: {wanted}: problem {config.problem.name!r} knows no bound of its curvature, of which it "
            "would be made: give a number (for run.tolerance_on 'mean', for record.per_node false)"
        )
    known = constants.find(problem, start, mean, transport, config.algorithm.observes)
    if not known.give_steps:
        raise AgreedError(
            f"{config.path}: {wanted}: L = {known.lipschitz:g}, the smoothness of the loss, gives no step: features or "
            "weights of the problem are too small or too large; use data.scale, or give numbers"
        )
    return known


def facts_of(config: Config, topology: Topology, known: Constants, held: Shares, problem: Problem) -> Facts:
    from mpiqopt.compressors.codec import Codec

    codec = Codec(config.compressor, problem.d, problem.dtype, config.run.seed, topology.nodes)
    return Facts(
        **known._asdict(),
        samples=float(held.sizes.mean()),
        most_samples=int(held.sizes.max()),
        topology=topology,
        omega=codec.omega,
        damping=codec.damping,
        delta=codec.delta,
        usual_delta=codec.usual_delta,
        gossip_omega=codec.gossip_omega,
        tolerance=config.run.tolerance,
        regularized=config.regularizer.name != "zero",
        coded=config.algorithm.default_compressor is not None and config.compressor.name != "identity",
    )


def _derived(config: Config, facts: Facts) -> dict[str, float]:
    """Fields that were automatic, and lambda where gossip uses it.

    Of rank 0, for all and for the run's continuation: processors may differ in the last bit of a derived number.
    """
    given = config.algorithm
    with naming(config.path):
        resolved = given.resolve(facts)
        resolved.require_resolved()
    numbers = {name: value for name, value in vars(resolved).items() if getattr(given, name) != value}
    if getattr(resolved, "chebyshev", False):
        numbers["interval"] = facts.topology.interval
    return numbers


def _begun(config: Config, ranks: int) -> tuple[Topology, bool]:
    """What rank 0 does first: what can be told from the config alone, then the topology; as ``_prepared``."""
    if config.nodes is not None:
        _require_counts(config, config.nodes, ranks)
    topology = config.topology()
    _require_counts(config, topology.nodes, ranks)
    require_memory(config.data.nbytes() / ranks, f"data: features of {config.data.count()} samples on {ranks} ranks")
    with naming(config.path):
        return topology, _prepared(config.data)


def _require_counts(config: Config, nodes: int, ranks: int) -> None:
    """Raise UsageError if there are more ranks than nodes, or more nodes than samples, as far as these are known."""
    with naming(config.path):
        if ranks > nodes:
            raise UsageError(f"{ranks} ranks for topology.nodes = {nodes} nodes; start at most one rank for each node")
        samples = config.data.count()
        if samples is not None:
            shares.require_enough(samples, nodes)


def _prepared(source: Source) -> bool:
    """Do what comes before a table is opened; True if rank 0 opens it for all."""
    source.prepare()
    return source.is_small()


def _load(config: Config, place: Placement, topology: Topology) -> Shares:
    seed = config.run.seed if config.data.seed is None else config.data.seed
    names = topology.names if topology.named else None
    with naming(config.path):
        return shares.load(config.data, config.data.open(seed), place, seed, config.problem.has_classes, names)


def _cut(config: Config, place: Placement, topology: Topology) -> list[Shares]:
    """The shares of every rank."""
    whole = _load(config, Placement(place.nodes), topology)
    return [shares.cut(whole, replace(place, rank=rank)) for rank in range(place.ranks)]


def divided(config: Config) -> Shares:
    """Return the samples of all nodes, as loaded in one process. Raises UsageError."""
    topology, _ = _begun(config, 1)
    return _load(config, Placement(topology.nodes), topology)


def _problem(config: Config, held: Shares, place: Placement) -> Problem:
    machines = Machines(config.emulate, place, config.run.seed) if config.emulate.of_machines else None
    with naming(config.path):
        problem = Problem(config.problem, held, config.regularizer, config.run.dtype, machines)
    # an iterate, its gradient and two more, before the first is made
    size = 4 * problem.hosted * problem.d * problem.dtype.itemsize
    require_memory(size, f"{problem.d} coordinates at each of {problem.hosted} nodes")
    return problem


def _start(config: Config, problem: Problem, place: Placement, transport: Transport) -> np.ndarray:
    """x_0 (hosted, d), equal at all nodes unless a file says otherwise."""
    kind = config.run.start
    if kind == "zero":
        point = np.zeros(problem.d)
    elif kind == "normal":
        point = standard_normal(generator(config.run.seed, "start"), problem.d) / np.sqrt(problem.d)
    else:
        point = by_first(transport, lambda: _earlier(config, problem.d, place.nodes))
    rows = point[place.first : place.last] if point.ndim == 2 else np.repeat(point[None], problem.hosted, axis=0)
    return np.ascontiguousarray(rows, dtype=problem.dtype)


def _earlier(config: Config, d: int, nodes: int) -> np.ndarray:
    """The mean iterate (d,) at the end of an earlier run, or what a .npy file holds: (d,) or (nodes, d)."""
    from mpiqopt.results.reader import final_mean

    where = f"{config.path}: run.start = {quoted(config.run.start)}"
    try:
        require_file(config.start_file)
        point = _numbers(config.start_file) if config.start_file.endswith(".npy") else final_mean(config.start_file)
        finite = np.isfinite(point).all()
    except MemoryError:
        raise
    except Exception as error:  # whatever the reading libraries say of a file that is no array
        raise UsageError(f"{where}: want zero, normal, a result file or a .npy file: {error}") from error
    if point.shape not in ((d,), (nodes, d)):
        raise UsageError(f"{where}: is {' x '.join(map(str, point.shape))}, want {d} numbers or {nodes} x {d}")
    if not finite:
        raise UsageError(f"{where}: holds numbers that are not finite")
    if point.ndim == 2 and config.algorithm.common_point:
        raise UsageError(f"{where}: a start for each node, but nodes of {config.algorithm.name!r} share one point")
    return point


def _numbers(path: str) -> np.ndarray:
    array = np.load(path, allow_pickle=False)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"numbers of type {array.dtype}")
    return array.astype(np.float64)
