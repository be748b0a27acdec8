"""What a run will do and cost, before it is started."""

import numpy as np

from mpiqopt.analysis import holdings, rounds
from mpiqopt.analysis.graphs import as_read, diameter
from mpiqopt.analysis.memory import memory_per_rank
from mpiqopt.compressors.codec import Codec
from mpiqopt.config.config import Config
from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.network.server import ServedBlocks
from mpiqopt.placement.placement import Placement, plan
from mpiqopt.run import constants
from mpiqopt.run.assembly import Experiment, assemble, facts_of
from mpiqopt.run.constants import Constants
from mpiqopt.terminal import listed
from mpiqopt.topologies.topology import DENSE_LIMIT
from mpiqopt.transport.serial import SerialTransport

# how many Delta values are apart in late rounds, as a rule, when Delta follows the change
ZOOMED = 1e6
# more steps of the grid than integers of coordination have: the run would say so
MOST_APART = 2.0**62
# a round of coordination takes so many seconds and so many times as long as a tree
HOPELESS_SECONDS, HOPELESS_TIMES = 1.0, 20


def describe(config: Config, ranks: int = 1, width: int | None = None) -> str:
    """The resolved config as TOML, and below it the derived constants and costs, as comments of that width."""
    _require_ranks(ranks, config.nodes)
    with np.errstate(all="ignore"):
        return _described(config, assemble(config, SerialTransport()), ranks, width)


def _require_ranks(ranks: int, nodes: int | None) -> None:
    if nodes is not None and ranks > nodes:
        raise UsageError(f"--ranks {ranks}: more than topology.nodes = {nodes}")


def _described(config: Config, experiment: Experiment, ranks: int, width: int | None) -> str:
    import tomli_w

    _require_ranks(ranks, experiment.network.place.nodes)
    tables = config.resolved()
    tables["algorithm"] |= {k: v for k, v in vars(experiment.algorithm).items() if v is not None}
    facts = listed(_facts(experiment, ranks), width, "# ")
    held = holdings.table(holdings.of_shares(experiment.shares), width, "#   ")
    text = f"{tomli_w.dumps(tables).rstrip()}\n\n# what follows from it\n{facts}"
    return f"{text}#\n# training samples of the nodes\n{held}"


def bytes_per_iteration(experiment: Experiment, ranks: int, coded: bool = True) -> tuple[float, float]:
    """Payload from node to node, and bytes between ranks, of one iteration (mean over a cycle of graphs).

    coded: with the config's compressor; False: as it would be without.
    """
    place = Placement(experiment.network.place.nodes, ranks)
    algorithm, cycle = experiment.algorithm, experiment.network.topology.cycle
    # weights are float64, and so are the vectors that they travel with
    item = 8 if algorithm.extra_values else experiment.problem.dtype.itemsize
    plain = (experiment.problem.d + algorithm.extra_values) * item
    codec = _codec(experiment) if coded else None
    message = plain if codec is None else codec.nbytes
    if algorithm.server:
        down = message if getattr(algorithm, "two_way", False) else plain
        uploaded = (ranks - 1) * plain if codec is None else ServedBlocks(codec, place, SerialTransport()).uploaded
        return (place.nodes - 1) * (message + down), uploaded + (ranks - 1) * down
    exchanges = [plan(mixing, place) for mixing in cycle]
    links, moved = (np.mean([getattr(e, name) for e in exchanges]) for name in ("links", "rows_moved"))
    return algorithm.rounds() * links * message, algorithm.rounds() * moved * message


def _codec(experiment: Experiment) -> Codec | None:
    """What codes the vectors; None if they are sent as they are."""
    return experiment.network.codec(experiment.start) if experiment.network.compressor is not None else None


def _constants(experiment: Experiment) -> list[tuple[str, str]]:
    """Lambda or the diameter, and L, unless they would take longer than the set-up of the run, which needs them not."""
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
    """Those that the run needs; of small networks all."""
    known, problem = experiment.constants, experiment.problem
    if known.lipschitz is None and experiment.network.place.nodes <= DENSE_LIMIT and problem.loss.curvature is not None:
        return constants.find(problem, experiment.start, experiment.mean, experiment.network.transport, observe=False)
    return known


def _step_size(experiment: Experiment) -> list[tuple[str, str]]:
    """The step, and a warning where a given one is beyond what is known to converge."""
    algorithm, automatic = experiment.algorithm, experiment.config.algorithm.step_size == "auto"
    said = [("step_size", f"{algorithm.step_size:.6g}" + " (auto)" * automatic)]
    known = _data_constants(experiment)
    if automatic or not known.give_steps:
        return said
    facts = facts_of(experiment.config, experiment.network.topology, known, experiment.shares, experiment.problem)
    bears = algorithm.bears(facts)
    largest = None if bears is None else bears / algorithm.smoothness(facts)
    if largest is not None and algorithm.step_size > largest:
        often = "" if experiment.problem.loss.curvature == 1 else " (for classes far too cautious, as a rule)"
        said.append(("warning", f"step_size is beyond {largest:.3g}, up to which it is known to converge{often}"))
    return said


def _coordination(experiment: Experiment, ranks: int) -> list[tuple[str, str]]:
    """What a round of coordination will cost, by a model; nothing if there is none."""
    algorithm = experiment.algorithm
    if not hasattr(algorithm, "coordinator"):
        return []
    network, name = rounds.measure(experiment.network.topology), algorithm.coordinator
    d = experiment.problem.d + 1  # the vector and who has joined

    def cost(protocol: str, spread: float) -> rounds.Round:
        return rounds.predict(protocol, network, d, spread, algorithm.by_mailboxes, ranks)

    topology, first = experiment.network.topology, _spread(experiment)
    # of digraphs that are not doubly stochastic it is there already
    facts = [("diameter", diameter(topology))] * topology.doubly_stochastic + [
        (f"a round of {name}", f"about {_round(cost(name, first))} (the first, values differ by {first:.0f} Delta)"),
    ]
    if algorithm.zoom != 1:
        facts.append(("  with zoom", f"about {_round(cost(name, ZOOMED))} when they differ by {ZOOMED:.2g} Delta"))
    mine, tree = cost(name, first), cost("tree", first)
    if name not in ("tree", "allreduce"):
        facts.append(("  a tree instead", f"about {_round(tree)}"))
    if mine.seconds > max(HOPELESS_SECONDS, HOPELESS_TIMES * tree.seconds):
        facts.append(
            ("warning", f"{name} is hopeless on this graph: want algorithm.coordinator = 'tree', or more links")
        )
    return facts


def _spread(experiment: Experiment) -> float:
    """How far, in steps of the grid, values of nodes will be apart in the first round: by gradients at the start."""
    algorithm = experiment.algorithm
    gradients = experiment.problem.value_and_grad(experiment.start)[1]
    moved = algorithm.step_size * algorithm.local_steps * max(np.ptp(gradients, axis=0).max(), np.abs(gradients).max())
    return min(max(1.0, float(moved) / algorithm.quantization_step), MOST_APART)


def _round(cost: rounds.Round) -> str:
    return f"{_bytes(cost.bytes, 2)} and {cost.seconds:.2g} s"


def _gossip_rounds(experiment: Experiment) -> str:
    algorithm, topology = experiment.algorithm, experiment.network.topology
    about = ["auto"] * (experiment.config.algorithm.gossip_rounds == "auto")
    if topology.knows("contraction"):
        reached = topology.reached(algorithm.gossip_rounds, algorithm.chebyshev)
        about.insert(0, f"|P_K(W) - J| = {reached:.3g}")
    return f"{algorithm.gossip_rounds}" + f" ({', '.join(about)})" * bool(about)


def _facts(experiment: Experiment, ranks: int) -> list[tuple[str, str]]:
    config, algorithm, topology = experiment.config, experiment.algorithm, experiment.network.topology
    sizes = experiment.shares.sizes
    spread = f"{sizes.min()} to {sizes.max()} per node" if sizes.min() != sizes.max() else f"{sizes[0]} per node"
    facts = [
        ("nodes", f"{topology.nodes} on {ranks} rank{'s' * (ranks > 1)}"),
        *((f"data: {subject}", words) for subject, words in experiment.shares.read.items()),
        ("samples", f"{sizes.sum()}, {spread}"),
        *_held_out(experiment.shares),
        (
            "parameter",
            f"{experiment.problem.d} coordinates = {experiment.problem.outputs} x {experiment.problem.features}",
        ),
    ]
    facts += as_read(topology)
    facts += _constants(experiment)
    facts += _step_size(experiment)
    if hasattr(algorithm, "gossip_rounds"):
        facts.append(("gossip_rounds K", _gossip_rounds(experiment)))
    if hasattr(algorithm, "gossip_step") and experiment.network.coded:
        auto = " (auto)" * (config.algorithm.gossip_step == "auto")
        facts.append(("gossip_step gamma", f"{algorithm.gossip_step:.3g}{auto}"))
    memory = f"about {_bytes(memory_per_rank(experiment, ranks), 2)}, Python and libraries included"
    if algorithm.variable_traffic:
        found_out = [("bytes", "as many as nodes find time for: see a run")]
        return [*facts, *(_coordination(experiment, ranks) or found_out), ("memory per rank", memory)]
    payload, moved = bytes_per_iteration(experiment, ranks)
    facts += [
        ("rounds per iteration", str(algorithm.rounds())),
        ("bytes per iteration", f"{_bytes(payload)} from node to node, {_bytes(moved)} between ranks"),
    ]
    if experiment.network.coded:
        plain, moved = bytes_per_iteration(experiment, ranks, coded=False)
        codec, d = _codec(experiment), experiment.problem.d
        times = f", {plain / payload:.3g} times as many" if payload else ""
        facts += [
            ("  without compression", f"{_bytes(plain)} from node to node, {_bytes(moved)} between ranks{times}"),
            ("coded message", f"{_bytes(codec.nbytes)}, {8 * codec.nbytes / d:.4g} bits a coordinate"),
        ]
    return [
        *facts,
        ("bytes of the whole run", f"{_bytes(payload * config.run.iterations)} from node to node"),
        ("memory per rank", memory),
    ]


def _held_out(shares: Shares) -> list[tuple[str, str]]:
    """How many samples are held out, and how many of the others have wrong labels."""
    facts = []
    if shares.held_out:
        unknown = np.setdiff1d(shares.test_targets, shares.targets)
        alone = f", {len(unknown)} labels of which no training sample has" if shares.classes and len(unknown) else ""
        facts.append(("  held out", f"{shares.held_out}{alone}"))
    if shares.noisy:
        facts.append(("  with wrong labels", f"{shares.noisy} ({100 * shares.noisy / shares.sizes.sum():.3g} %)"))
    return facts


def _bytes(count: float, digits: int = 4) -> str:
    count = float(f"{count:.{digits}g}")
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
