"""Predictions of what a run will do and cost, before it is started.

>>> from mpiqopt.algorithms.gradient_tracking import GradientTracking
>>> from mpiqopt.contracts.algorithm import small_experiment
>>> made = small_experiment(GradientTracking())  # 8 nodes in a ring, d = 5, two gossip rounds an iteration
>>> links, between_ranks, message = 16, 4, 5 * 8
>>> bytes_per_iteration(made, ranks=2) == (2 * links * message, 2 * between_ranks * message)
True
"""

import numpy as np

from mpiqopt.analysis import node_samples
from mpiqopt.analysis.graphs import diameter, graph_file_facts
from mpiqopt.analysis.memory import memory_per_rank
from mpiqopt.analysis.server_cost import describe_rounds, mean_traffic, plan_rounds
from mpiqopt.analysis.tables import bytes_for_tables
from mpiqopt.compressors.codec import Codec
from mpiqopt.compressors.shortener import usual_nbytes
from mpiqopt.config.config import Config, given_keys
from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.network.served_blocks import ServedBlocks
from mpiqopt.placement.placement import Placement, plan_exchange
from mpiqopt.problems.problem import Problem
from mpiqopt.run import constants
from mpiqopt.run.assembly import Experiment, assemble, assemble_facts
from mpiqopt.run.constants import Constants
from mpiqopt.terminal import two_terminal_columns
from mpiqopt.topologies.topology import DENSE_LIMIT
from mpiqopt.transport.serial import SerialTransport


def estimate_run(config: Config, ranks: int = 1, width: int | None = None) -> str:
    """Return the resolved config as TOML, and below it the derived constants and costs, as comments.

    Parameters
    ----------
    config: as read; data are loaded and the topology is made, nothing runs.
    ranks: how many the run is to have, for bytes between ranks and memory.
    width: characters of a line of the comments; None for any.

    Raises UsageError if there are more ranks than nodes, or where the run itself would.
    """
    _require_ranks(ranks, config.nodes)
    with np.errstate(all="ignore"):
        return _described(config, assemble(config, SerialTransport()), ranks, width)


def _require_ranks(ranks: int, nodes: int | None) -> None:
    """Raise UsageError if there are more ranks than nodes."""
    if nodes is not None and ranks > nodes:
        raise UsageError(f"--ranks {ranks}: more than topology.nodes = {nodes}")


def _described(config: Config, experiment: Experiment, ranks: int, width: int | None) -> str:
    """Return the text of ``estimate_run`` from the assembled run."""
    import tomli_w

    _require_ranks(ranks, experiment.network.place.nodes)
    tables = config.resolved()
    tables["algorithm"] |= given_keys(experiment.algorithm)
    facts = two_terminal_columns(_facts(experiment, ranks), width, "# ")
    samples = node_samples.node_table(node_samples.samples_of_shares(experiment.shares), width, "#   ")
    text = f"{tomli_w.dumps(tables).rstrip()}\n\n# what follows from it\n{facts}"
    return f"{text}#\n# training samples of the nodes\n{samples}"


def bytes_per_iteration(experiment: Experiment, ranks: int, coded: bool = True) -> tuple[float, float]:
    """Return the payload from node to node, and the bytes between ranks, of one iteration.

    Over topologies in turn both are means over a cycle, and with cohorts of clients over the first rounds. Only for
    methods without ``variable_traffic``.

    Parameters
    ----------
    experiment: the assembled run, all nodes in this process. ranks: how many the nodes are to be spread over.
    coded: True for messages of the config's compressor, False for what would be sent without it. Messages whose size
        varies are taken as ``usual_nbytes`` has them.
    """
    if rounds := plan_rounds(experiment):
        return mean_traffic(experiment, rounds, ranks, coded and experiment.network.coded)
    place = Placement(experiment.network.place.nodes, ranks)
    algorithm, cycle = experiment.algorithm, experiment.network.topology.cycle
    # weights are float64, and so are the vectors that they travel with
    item = 8 if algorithm.extra_values else experiment.problem.dtype.itemsize
    plain = (algorithm.message_vectors * experiment.problem.d + algorithm.extra_values) * item
    codec = _codec(experiment) if coded else None
    message = plain if codec is None else usual_nbytes(codec)
    if algorithm.server:
        down = message if algorithm.coded_downlink else plain
        uploaded = (ranks - 1) * plain if codec is None else ServedBlocks(codec, place, SerialTransport()).uploaded
        return (place.nodes - 1) * (message + down), uploaded + (ranks - 1) * down
    exchanges = [plan_exchange(mixing, place) for mixing in cycle]
    links, moved = (np.mean([getattr(e, name) for e in exchanges]) for name in ("links", "rows_moved"))
    return algorithm.rounds() * links * message, algorithm.rounds() * moved * message


def _codec(experiment: Experiment) -> Codec | None:
    """Return what encodes the vectors; None if they are sent as they are."""
    return experiment.network.codec(experiment.start) if experiment.network.compressor is not None else None


def _constants(experiment: Experiment) -> list[tuple[str, str]]:
    """Return lambda or the diameter, and L.

    They are left out where they would take longer than the set-up of a run that needs none of them.
    """
    topology, facts = experiment.network.topology, []
    if not topology.doubly_stochastic:
        if topology.knows("diameter"):
            facts.append(("diameter of the digraph", diameter(topology)))
    elif topology.knows("contraction"):
        lam = topology.contraction
        facts.append(("contraction lambda", f"{lam:.6g} (1 - lambda = {1 - lam:.3g})"))
    else:
        facts.append(("contraction lambda", "not needed, and slow to find: mpiqopt topology"))
    known = _data_constants(experiment)
    if known.lipschitz is not None:
        facts.append(("L, largest of the nodes", f"{known.lipschitz:.6g}"))
        facts.append(("  of samples", f"root mean square {known.mean_squared:.6g}, largest {known.largest:.6g}"))
    if known.observed is not None:
        facts.append(("  of F, observed", f"{known.observed:.6g}"))
    return facts


def _data_constants(experiment: Experiment) -> Constants:
    """Return the constants that the run needs; of networks of up to DENSE_LIMIT nodes all.

    They cost a few passes over the data.
    """
    known, problem = experiment.constants, experiment.problem
    if known.lipschitz is None and experiment.network.place.nodes <= DENSE_LIMIT and problem.loss.curvature is not None:
        return constants.find_constants(
            problem, experiment.start, experiment.mean, experiment.network.transport, observe=False
        )
    return known


def _step_size(experiment: Experiment) -> list[tuple[str, str]]:
    """Return the step, and a warning where a given one is beyond what is known to converge.

    Known is ``Algorithm.largest_stable_step``; the warning does not mean that the run must diverge.
    """
    algorithm, automatic = experiment.algorithm, experiment.config.algorithm.step_size == "auto"
    said = [("step_size", f"{algorithm.step_size:.6g}" + " (auto)" * automatic)]
    known = _data_constants(experiment)
    if automatic or not known.give_steps:
        return said
    facts = assemble_facts(experiment.config, experiment.network.topology, known, experiment.shares, experiment.problem)
    bound = algorithm.largest_stable_step(facts)
    largest = None if bound is None else bound / algorithm.smoothness(facts)
    if largest is not None and float(algorithm.step_size) > largest:
        often = "" if experiment.problem.loss.curvature == 1 else " (for classes far too cautious, as a rule)"
        said.append(("warning", f"step_size is beyond {largest:.3g}, up to which it is known to converge{often}"))
    return said


def _facts(experiment: Experiment, ranks: int) -> list[tuple[str, str]]:
    """Return all lines of facts, as (name, text).

    In this order: sizes of the problem, how files were read, constants, the step, the method's own values, costs,
    memory.
    """
    algorithm, topology = experiment.algorithm, experiment.network.topology
    given, coded = experiment.config.algorithm, experiment.network.coded
    return [
        *_sizes(experiment, ranks),
        *graph_file_facts(topology),
        *_constants(experiment),
        *_step_size(experiment),
        *algorithm.facts_for_check(given, topology, coded),
        *_costs(experiment, ranks),
        (
            "memory per rank",
            f"about {bytes_for_tables(memory_per_rank(experiment, ranks), 2)}, Python and libraries included",
        ),
    ]


def _sizes(experiment: Experiment, ranks: int) -> list[tuple[str, str]]:
    """Return the numbers of nodes, samples and coordinates, and how data were read."""
    problem, sizes = experiment.problem, experiment.shares.sizes
    spread = f"{sizes.min()} to {sizes.max()} per node" if sizes.min() != sizes.max() else f"{sizes[0]} per node"
    return [
        ("nodes", f"{experiment.network.topology.nodes} on {ranks} rank{'s' * (ranks > 1)}"),
        *((f"data: {subject}", words) for subject, words in experiment.shares.read.items()),
        ("samples", f"{sizes.sum()}, {spread}"),
        *_held_out(experiment.shares),
        ("parameter", f"{problem.d} coordinates{_product(problem)}"),
        *problem.loss.facts_for_check(experiment.shares),
    ]


def _product(problem: Problem) -> str:
    """Return " = outputs x features" where a point has a coordinate for each; "" for other models."""
    same = problem.d == problem.outputs * problem.features
    return f" = {problem.outputs} x {problem.features}" if same else ""


def _costs(experiment: Experiment, ranks: int) -> list[tuple[str, str]]:
    """Return rounds and bytes of an iteration and of the run, as far as they can be predicted."""
    if experiment.algorithm.variable_traffic:
        unknown = [("bytes", "as many as nodes find time for: see a run")]
        from mpiqopt.analysis.coordination_cost import describe_coordination

        return describe_coordination(experiment, ranks) or unknown
    payload, moved = bytes_per_iteration(experiment, ranks)
    return [
        *describe_rounds(experiment, plan_rounds(experiment)),
        ("rounds per iteration", str(experiment.algorithm.rounds())),
        (
            "bytes per iteration",
            f"{bytes_for_tables(payload)} from node to node, {bytes_for_tables(moved)} between ranks",
        ),
        *(_savings(experiment, ranks, payload) if experiment.network.coded else ()),
        ("bytes of the whole run", f"{bytes_for_tables(payload * experiment.config.run.iterations)} from node to node"),
    ]


def _savings(experiment: Experiment, ranks: int, payload: float) -> list[tuple[str, str]]:
    """Return what an iteration would send without compression, and the size of a coded message."""
    plain, moved = bytes_per_iteration(experiment, ranks, coded=False)
    planned = plan_rounds(experiment)
    d = planned[0].values if planned else experiment.problem.d
    codec = experiment.network.codec(np.empty((0, d), experiment.problem.dtype))
    times = f", {plain / payload:.3g} times as many" if payload else ""
    return [
        (
            "  without compression",
            f"{bytes_for_tables(plain)} from node to node, {bytes_for_tables(moved)} between ranks{times}",
        ),
        ("coded message", f"{_size(codec.nbytes, d)}{_shorter(codec)}"),
    ]


def _size(nbytes: float, d: int) -> str:
    """Return the bytes of a message of d values, and its bits a value."""
    return f"{bytes_for_tables(nbytes)}, {8 * nbytes / d:.4g} bits a coordinate"


def _shorter(codec: Codec) -> str:
    """Return how long a message is on its way where that varies; "" where it does not."""
    if not codec.compressor.varies:
        return ""
    return f"; on its way {_size(usual_nbytes(codec), codec.d)}, if its values are normal: it varies"


def _held_out(shares: Shares) -> list[tuple[str, str]]:
    """Return how many samples are held out, and how many of the others have wrong labels.

    Labels that no training sample has are counted, too: no model can find them.
    """
    facts = []
    if shares.held_out:
        unknown = np.setdiff1d(shares.test_targets, shares.targets)
        alone = f", {len(unknown)} labels of which no training sample has" if shares.classes and len(unknown) else ""
        facts.append(("  held out", f"{shares.held_out}{alone}"))
    if shares.noisy:
        facts.append(("  with wrong labels", f"{shares.noisy} ({100 * shares.noisy / shares.sizes.sum():.3g} %)"))
    return facts
