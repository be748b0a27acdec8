"""What a run will do and cost, before it is started."""

import numpy as np

from mpiqopt.analysis.graphs import diameter
from mpiqopt.assembly import Experiment, assemble
from mpiqopt.codec import Codec
from mpiqopt.config import Config
from mpiqopt.errors import UsageError
from mpiqopt.placement import Placement, plan
from mpiqopt.results.checkpoint import flat
from mpiqopt.server import Server
from mpiqopt.transport.serial import SerialTransport

# Arrays of the iterates' shape that a step makes beside its state (measured: peak memory of 10,000 nodes).
TEMPORARIES = 5


def describe(config: Config, ranks: int = 1) -> str:
    """The resolved config as TOML, and below it the derived constants and costs, as text."""
    import tomli_w

    experiment = assemble(config, SerialTransport(), need_lipschitz=config.problem.curvature is not None)
    nodes = experiment.network.place.nodes
    if ranks > nodes:
        raise UsageError(f"--ranks {ranks}: more than topology.nodes = {nodes}")
    tables = config.resolved()
    tables["algorithm"] |= {k: v for k, v in vars(experiment.algorithm).items() if v is not None}
    lines = [tomli_w.dumps(tables).rstrip(), "", "# what follows from it"]
    facts = _facts(experiment, ranks)
    width = max(len(name) for name, _ in facts)
    lines += [f"# {name:<{width}}  {value}" for name, value in facts]
    return "\n".join(lines) + "\n"


def bytes_per_iteration(experiment: Experiment, ranks: int, coded: bool = True) -> tuple[float, float]:
    """Payload from node to node, and bytes between ranks, of one iteration (mean over a cycle of graphs).

    coded: with the config's compressor; False: as it would be without.
    """
    place = Placement(experiment.network.place.nodes, ranks)
    algorithm, cycle = experiment.algorithm, experiment.network.topology.cycle
    # weights are float64, and so are the vectors that they travel with
    item = 8 if algorithm.beside else experiment.problem.dtype.itemsize
    plain = (experiment.problem.d + algorithm.beside) * item
    codec = _codec(experiment) if coded else None
    message = plain if codec is None else codec.nbytes
    if algorithm.server:
        down = message if getattr(algorithm, "two_way", False) else plain
        uploaded = (ranks - 1) * plain if codec is None else Server(codec, place, SerialTransport()).uploaded
        return (place.nodes - 1) * (message + down), uploaded + (ranks - 1) * down
    exchanges = [plan(mixing, place) for mixing in cycle]
    links, moved = (np.mean([getattr(e, name) for e in exchanges]) for name in ("links", "rows_moved"))
    return algorithm.rounds() * links * message, algorithm.rounds() * moved * message


def _codec(experiment: Experiment) -> Codec | None:
    """What codes the vectors; None if they are sent as they are."""
    return experiment.network.codec(experiment.start) if experiment.network.compressor is not None else None


def memory_per_rank(experiment: Experiment, ranks: int) -> float:
    """Bytes of the data on the rank with most samples and of the iterates on the one with most nodes.

    Python and its libraries come to about 100 MB more.
    """
    features, sizes = experiment.shares.features, experiment.shares.sizes
    data = features.nbytes if isinstance(features, np.ndarray) else features.data.nbytes * 3 // 2
    place = Placement(experiment.network.place.nodes, ranks, ranks - 1)
    most = np.add.reduceat(sizes, place.bounds[:-1]).max() / sizes.sum()
    state = experiment.algorithm.init(experiment.start, experiment.problem, experiment.network, experiment.streams)
    arrays = len({id(value) for value in flat(state).values() if isinstance(value, np.ndarray)}) + TEMPORARIES
    row = experiment.problem.d * experiment.problem.dtype.itemsize
    return data * most + arrays * place.hosted * row


def _facts(experiment: Experiment, ranks: int) -> list[tuple[str, str]]:
    config, algorithm, topology = experiment.config, experiment.algorithm, experiment.network.topology
    sizes = experiment.shares.sizes
    spread = f"{sizes.min()} to {sizes.max()} per node" if sizes.min() != sizes.max() else f"{sizes[0]} per node"
    facts = [
        ("nodes", f"{topology.nodes} on {ranks} rank{'s' * (ranks > 1)}"),
        ("samples", f"{sizes.sum()}, {spread}"),
        (
            "parameter",
            f"{experiment.problem.d} coordinates = {experiment.problem.outputs} x {experiment.problem.features}",
        ),
    ]
    if topology.doubly_stochastic:
        facts.append(
            ("contraction lambda", f"{topology.contraction:.6g} (1 - lambda = {1 - topology.contraction:.3g})")
        )
    else:
        facts.append(("diameter of the digraph", diameter(topology)))
    if experiment.lipschitz is not None:
        facts.append(("L, largest of the nodes", f"{experiment.lipschitz:.6g}"))
    facts.append(("step_size", f"{algorithm.step_size:.6g}" + " (auto)" * (config.algorithm.step_size == "auto")))
    if hasattr(algorithm, "gossip_rounds"):
        k = algorithm.gossip_rounds
        reached = topology.reached(k, algorithm.chebyshev)
        auto = ", auto" * (config.algorithm.gossip_rounds == "auto")
        facts.append(("gossip_rounds K", f"{k} (|P_K(W) - J| = {reached:.3g}{auto})"))
    if hasattr(algorithm, "gossip_step") and experiment.network.coded:
        auto = " (auto)" * (config.algorithm.gossip_step == "auto")
        facts.append(("gossip_step gamma", f"{algorithm.gossip_step:.3g}{auto}"))
    memory = f"{_bytes(memory_per_rank(experiment, ranks))} and about 100 MB of Python and libraries"
    if algorithm.packs:
        return [*facts, ("bytes", "as many as the integers need: see a run"), ("memory per rank", memory)]
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


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.4g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"
