"""From a config to the objects of a run, step by step; ``assemble`` is the table of contents of this file."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mpiqopt.algorithms.algorithm import Algorithm, Facts
from mpiqopt.config.config import Config, given_keys
from mpiqopt.data.scaling import scale_features
from mpiqopt.data.shares import (
    Shares,
    cut_shares,
    largest_magnitude_of_shares,
    load_shares,
    require_sample_for_each_node,
)
from mpiqopt.data.source import Source
from mpiqopt.emulation.devices import group_devices
from mpiqopt.emulation.machines import Machines
from mpiqopt.errors import AgreedError, UsageError, errors_name_file
from mpiqopt.memory import require_memory
from mpiqopt.network.gossip import Schedule
from mpiqopt.network.network import Network
from mpiqopt.network.node_mean import NodeMean
from mpiqopt.placement.placement import Placement
from mpiqopt.problems.problem import Problem
from mpiqopt.run import constants
from mpiqopt.run.client_metrics import ClientEvaluator, make_client_evaluator
from mpiqopt.run.constants import Constants
from mpiqopt.run.metrics import Evaluator
from mpiqopt.run.starting_point import starting_point
from mpiqopt.run.steps import dealt_by_rank_0, on_all_ranks, on_rank_0
from mpiqopt.streams import Streams
from mpiqopt.topologies.topology import Topology
from mpiqopt.transport.transport import Transport


class Experiment(NamedTuple):
    """All that a run or a check needs, on one rank.

    Attributes
    ----------
    config : what it was made from
    problem, network, streams : what an algorithm is called with
    mean : the mean over all nodes, for metrics
    algorithm : the config's, with every automatic value replaced by a number
    evaluate : returns the metrics of an iterate
    evaluate_clients : returns those of the clients of federated methods; None without any
    start : x_0, (hosted, d)
    shares : the samples of the hosted nodes
    constants : of the data, as far as something asks for them
    derived : the numbers that were computed rather than given and that the trajectory depends on
    """

    config: Config
    problem: Problem
    network: Network
    mean: NodeMean
    algorithm: Algorithm
    streams: Streams
    evaluate: Evaluator
    evaluate_clients: ClientEvaluator | None
    start: np.ndarray
    shares: Shares
    constants: Constants
    derived: dict[str, Any]

    @property
    def watches_consensus(self) -> bool:
        """True if ``run.tolerance`` bounds how far nodes are apart, too."""
        return _watches_consensus(self.config)

    def close(self) -> None:
        """End the threads that train nodes, if there are any."""
        if self.problem.training is not None:
            self.problem.training.close()


def assemble(config: Config, transport: Transport, *, derived: dict[str, Any] | None = None) -> Experiment:
    """Return the objects of a run, collective.

    Parameters
    ----------
    config : of the run
    transport : the ranks, each of which hosts some nodes
    derived : of the run that is continued; by default the numbers are computed

    Raises
    ------
    AgreedError
        On all ranks, for what the user can mend.
    """
    topology, small = _set_up_topology(transport, config, transport.size)
    place = Placement(topology.nodes, transport.size, transport.rank)
    mean = NodeMean(place, transport)
    shares = (_deal_shares if small else _load_shares)(transport, config, place, topology)
    shares = scale_features(shares, config.data, mean, config.dtype)
    _require_features(config, shares, transport)
    problem = _build_problem(transport, config, shares, place, transport.local_rank)
    _require_accuracy(config, problem)
    start = starting_point(config, problem, place, transport)
    known = _find_constants(config, problem, start, mean, transport)
    if derived is None:
        derived = _derive(transport, config, topology, known, shares, problem)
    algorithm = _resolved_algorithm(config, derived)
    network = _build_network(config, topology, place, transport, algorithm, derived)
    _prepare_algorithm(config, algorithm, problem, network)
    streams = Streams(config.run.seed, place.first, problem.sizes)
    if algorithm.trains:
        problem.make_trainer(streams, transport.processors if algorithm.in_background else None)
    evaluate = _build_evaluator(config, problem, place, transport, mean, known, shares)
    of_clients = _build_client_evaluator(config, problem, place, transport, shares)
    return Experiment(
        config, problem, network, mean, algorithm, streams, evaluate, of_clients, start, shares, known, derived
    )


# The topology


def _begin(config: Config, ranks: int) -> tuple[Topology, bool]:
    """Return the topology, and True if the data are so small that rank 0 opens them for all.

    What can be told from the config alone is checked first. Raises UsageError.
    """
    config.require_recorded()
    if config.nodes is not None:
        _require_counts(config, config.nodes, ranks)
    topology = config.topology()
    _require_counts(config, topology.nodes, ranks)
    require_memory(config.data.nbytes() / ranks, f"data: features of {config.data.count()} samples on {ranks} ranks")
    with errors_name_file(config.path):
        return topology, _prepare(config.data)


_set_up_topology = on_rank_0(_begin)


def _require_counts(config: Config, nodes: int, ranks: int) -> None:
    """Raise UsageError if there are more ranks than nodes, or more nodes than samples, as far as these are known."""
    with errors_name_file(config.path):
        if ranks > nodes:
            raise UsageError(f"{ranks} ranks for topology.nodes = {nodes} nodes; start at most one rank for each node")
        samples = config.data.count()
        if samples is not None:
            require_sample_for_each_node(samples, nodes)


def _prepare(source: Source) -> bool:
    """Do what comes before a table is opened; return True if rank 0 opens it for all."""
    source.prepare()
    return source.is_small()


# The data


def _load(config: Config, place: Placement, topology: Topology) -> Shares:
    """Return the samples of the nodes that ``place`` hosts. Raises UsageError."""
    seed = config.run.seed if config.data.seed is None else config.data.seed
    names = topology.names if topology.named else None
    with errors_name_file(config.path):
        table, has_classes = config.data.open(seed), config.problem.has_classes
        devices = config.devices_of(place.nodes).classes
        return load_shares(config.data, table, place, seed, has_classes, names, config.dtype, devices)


_load_shares = on_all_ranks(_load)


@dealt_by_rank_0
def _deal_shares(config: Config, place: Placement, topology: Topology) -> list[Shares]:
    """Return the shares of every rank, of data that are loaded once."""
    whole = _load(config, Placement(place.nodes), topology)
    return [cut_shares(whole, replace(place, rank=rank)) for rank in range(place.ranks)]


def assemble_division(config: Config) -> Shares:
    """Return the samples of all nodes, as loaded in one process. Raises UsageError."""
    topology, _ = _begin(config, 1)
    return _load(config, Placement(topology.nodes), topology)


def _require_features(config: Config, shares: Shares, transport: Transport) -> None:
    """Raise AgreedError if all features of all nodes are 0, as constant ones are when scaled, and the loss needs some.

    A mean of zeros is one.
    """
    (largest,) = transport.maximum(np.array([largest_magnitude_of_shares(shares.features)])).tolist()
    if largest == 0 and config.problem.curvature:
        why = "each is constant, and data.scale = 'standard'" if config.data.scale == "standard" else "all of them"
        raise AgreedError(f"{config.path}: data: features are 0 in every sample ({why}): nothing can be fitted to them")


# The problem


@on_all_ranks
def _build_problem(config: Config, shares: Shares, place: Placement, local_rank: int) -> Problem:
    """Return F + h on the hosted nodes. Raises UsageError if data do not fit the loss, MemoryError if too large."""
    devices = config.devices_of(place.nodes) if config.algorithm.federated else None
    is_slow = config.emulate.of_machines or (devices is not None and devices.slow)
    machines = Machines(config.emulate, place, config.run.seed, devices) if is_slow else None
    with errors_name_file(config.path):
        config.problem.prepare(config.run.device, local_rank, config.folder)
        problem = Problem(config.problem, shares, config.regularizer, config.dtype, machines)
        problem.layers(tuple(getattr(config.algorithm, "personal", ())))  # there are such layers
    # an iterate, its gradient and two more, before the first is made
    rows = 1 if config.algorithm.one_row else problem.hosted
    size = 4 * rows * problem.d * problem.dtype.itemsize
    require_memory(size, f"{problem.d} coordinates at each of {rows} nodes")
    return problem


def _require_accuracy(config: Config, problem: Problem) -> None:
    """Raise AgreedError if the run is to stop at an accuracy and none can be measured."""
    if config.run.stop_accuracy is not None and not problem.has_accuracy:
        raise AgreedError(
            f"{config.path}: run.stop_accuracy = {config.run.stop_accuracy:g}: wants data.test_fraction > 0 (or "
            "data.test_path) and a problem with classes (logistic, softmax)"
        )


# The algorithm: constants of the data, and the numbers that are made of them


def _find_constants(
    config: Config, problem: Problem, start: np.ndarray, mean: NodeMean, transport: Transport
) -> Constants:
    """Return the constants that something asks for, collective.

    Raises AgreedError, with the key that asks, where the loss knows no bound of its curvature or gives no step.
    """
    wanted = _asks_for_constants(config)
    if not wanted and not (config.algorithm.own_automatic() and problem.loss.curvature is not None):
        return Constants()
    if problem.loss.curvature is None:
        raise AgreedError(
            f"{config.path}: {wanted}: problem {config.problem.name!r} knows no bound of its curvature, of which it "
            "would be made: give a number (for run.tolerance_on 'mean', for record.per_node false)"
        )
    known = constants.find_constants(problem, start, mean, transport, config.algorithm.observes)
    if not known.give_steps:
        raise AgreedError(
            f"{config.path}: {wanted}: L = {known.lipschitz:g}, the smoothness of the loss, gives no step: features or "
            "weights of the problem are too small or too large; use data.scale, or give numbers"
        )
    return known


def _asks_for_constants(config: Config) -> str:
    """Return the first key that needs constants of the data; "" if none does."""
    for key in config.algorithm.automatic_from_data():
        return f"algorithm.{key} = 'auto'"
    if config.record.per_node:
        return "record.per_node = true"
    return "run.tolerance_on = 'nodes'" if _watches_consensus(config) else ""


def _watches_consensus(config: Config) -> bool:
    return config.run.tolerance is not None and config.run.tolerance_on == "nodes" and not config.algorithm.common_point


def assemble_facts(config: Config, topology: Topology, known: Constants, shares: Shares, problem: Problem) -> Facts:
    """Return what automatic values are made from."""
    from mpiqopt.compressors.codec import Codec

    codec = Codec(config.compressor, problem.d, problem.dtype, config.run.seed, topology.nodes)
    return Facts(
        **known._asdict(),
        samples=float(shares.sizes.mean()),
        most_samples=int(shares.sizes.max()),
        topology=topology,
        omega=codec.omega,
        damping=codec.damping,
        delta=codec.delta,
        usual_delta=codec.usual_delta,
        gossip_omega=codec.gossip_omega,
        strong_convexity=problem.strong_convexity,
        tolerance=config.run.tolerance,
        regularized=config.regularizer.name != "zero",
        coded=config.algorithm.default_compressor is not None and config.compressor.name != "identity",
    )


@on_rank_0
def _derive(config: Config, topology: Topology, known: Constants, shares: Shares, problem: Problem) -> dict[str, Any]:
    """Return the automatic values as numbers, by key, and as ``interval`` that of W's eigenvalues if gossip uses it.

    Rank 0's are used on all ranks and by the run's continuation: processors may differ in the last bit of them.
    """
    given, facts = config.algorithm, assemble_facts(config, topology, known, shares, problem)
    with errors_name_file(config.path):
        resolved = given.resolve(facts)
        resolved.require_resolved()
    numbers = {key: value for key, value in given_keys(resolved).items() if getattr(given, key) != value}
    if resolved.uses_interval:
        numbers["interval"] = topology.interval
    return numbers


def _resolved_algorithm(config: Config, derived: dict[str, Any]) -> Algorithm:
    """Return the config's algorithm with the derived numbers in the place of automatic values."""
    return replace(config.algorithm, **{key: derived[key] for key in derived if hasattr(config.algorithm, key)})


def _prepare_algorithm(config: Config, algorithm: Algorithm, problem: Problem, network: Network) -> None:
    """Let a method make what it needs, collective. Raises AgreedError."""
    try:
        algorithm.prepare(problem, network, config.run.seed)
    except UsageError as error:
        raise AgreedError(f"{config.path}: {error}") from error


# The network, and what measures


def _build_network(
    config: Config,
    topology: Topology,
    place: Placement,
    transport: Transport,
    algorithm: Algorithm,
    derived: dict[str, Any],
) -> Network:
    """Return the hosted nodes' end of the network."""
    return Network(
        topology,
        place,
        transport,
        compressor=config.compressor if algorithm.default_compressor is not None else None,
        seed=config.run.seed,
        schedule=Schedule(algorithm.mixed_variables, algorithm.rounds_per_variable()),
        interval=tuple(derived["interval"]) if "interval" in derived else None,
        mail_transport=config.run.transport,
        emulate=config.emulate,
        devices=config.devices_of(place.nodes),
    )


def _build_evaluator(
    config: Config,
    problem: Problem,
    place: Placement,
    transport: Transport,
    mean: NodeMean,
    known: Constants,
    shares: Shares,
) -> Evaluator:
    """Return what measures iterates; the solution of planted data is compared with if it is a point of the problem."""
    solution = shares.solution
    return Evaluator(
        problem,
        place,
        transport,
        mean,
        config.record.mapping_step,
        known.lipschitz if config.record.per_node else None,
        solution if solution is not None and solution.shape == (problem.d,) else None,
        config.record.training,
    )


def _build_client_evaluator(
    config: Config, problem: Problem, place: Placement, transport: Transport, shares: Shares
) -> ClientEvaluator | None:
    """Return what measures the accuracy of clients; None for methods without clients, and without accuracy."""
    if not config.algorithm.federated:
        return None
    groups = group_devices(config.devices_of(place.nodes), config.emulate.factors(place.nodes))
    return make_client_evaluator(problem, place, transport, shares, groups)
