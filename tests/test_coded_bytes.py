"""Bytes of coded messages, no coding as a compressor, and independent roundings of nodes and rounds."""

import numpy as np
import pytest
from tools.coded import DATA, GOSSIPED, RING, SERVED, SETTINGS, UNBIASED, D, bytes_sent, example, pairs
from tools.experiments import after, arrays, assembled


def message_size(compressor: str, itemsize: int, d: int = D) -> int:
    """Bytes of one message of d values, from the formats in the docstrings of the compressors."""

    def up(bits: int) -> int:
        return -(-bits // 8)

    def blocks(size: int, bits: int, filled: bool = False) -> int:
        """A scale and ``bits`` a value for each block; the last one is filled up to a power of two, or short."""
        last = d % size or size
        last = 1 << (last - 1).bit_length() if filled else last
        return (-(-d // size) - 1) * (4 + up(bits * size)) + 4 + up(bits * last)

    kept = -(-3 * d // 10)
    return {
        "identity": d * itemsize,
        "float16": 4 + 2 * d,
        "qsgd": blocks(4, 4),  # 15 levels: 4 bits
        "zoom-in": 4 + up(4 * d),
        "natural": 4 + up(9 * d),
        "eden": blocks(8, 2, filled=True),
        "flattened-one-bit": blocks(8, 1, filled=True),
        "top-k": 4 + 4 * kept + up(kept * (d - 1).bit_length()),
        "scaled-sign": blocks(4, 1),
        "random-k": 4 + 4 * kept,
        "low-rank": 8 + 4 * {11: 4 + 3, 22: 5 + 5}[d],
        "sign": up(d),
    }[compressor]


@pytest.mark.representatives(2)
@pytest.mark.parametrize(("dtype", "itemsize"), [("float64", 8), ("float32", 4)])
@pytest.mark.parametrize("topology", [RING, {"name": "star", "nodes": 5}, {"name": "ring", "nodes": 1}], ids=str)
@pairs(GOSSIPED)
def test_bytes_of_coded_gossip(name, compressor, topology, dtype, itemsize):
    """Links * bytes of a message * rounds; ring of 8: 16 links, star of 5: 8, one node: none."""
    experiment = example(name, compressor, topology, dtype=dtype)
    sent = bytes_sent(experiment)
    after(experiment, 3)
    links = {8: 16, 5: 8, 1: 0}[topology["nodes"]]
    rounds = 3 * experiment.algorithm.rounds()
    assert experiment.network.traffic.rounds == rounds
    assert experiment.network.traffic.bytes == rounds * links * message_size(compressor, itemsize)
    if sent:
        assert {messages.shape for _, _, messages in sent} == {(topology["nodes"], message_size(compressor, itemsize))}


@pytest.mark.representatives(2)
@pytest.mark.parametrize("two_way", [False, True], ids=["one-way", "two-way"])
@pytest.mark.parametrize(("dtype", "itemsize"), [("float64", 8), ("float32", 4)])
@pytest.mark.parametrize("nodes", [1, 5])
@pairs(SERVED)
def test_bytes_of_the_server(name, compressor, nodes, dtype, itemsize, two_way):
    """n - 1 messages up and n - 1 down, the way down coded or not; the parts' blocks are counted once.

    Two vectors each way for SCAFFOLD. Of five nodes in two regions three are no servers.
    """
    experiment = example(name, compressor, {"name": "ring", "nodes": nodes}, dtype=dtype, two_way=two_way)
    after(experiment, 3)
    d = 2 * D if name == "scaffold" else D
    up = message_size(compressor, itemsize, d)
    down = up if two_way else d * itemsize
    others = 3 if name == "hierarchical-fedavg" and nodes == 5 else nodes - 1
    assert (experiment.network.traffic.rounds, experiment.network.traffic.bytes) == (3, 3 * others * (up + down))


@pytest.mark.parametrize("name", GOSSIPED)
def test_identity_costs_what_no_compressor_costs(name):
    """The iterates and the bytes of the config with compressor "identity" are those of the config without the table."""
    settings = {"name": name, "step_size": 0.05, **SETTINGS.get(name, {})}
    runs = [
        assembled(RING, {"name": "logistic"}, settings, None, DATA, table, seed=4)
        for table in (None, {"name": "identity"})
    ]
    for first, second in zip(*(arrays(after(experiment, 5)) for experiment in runs), strict=True):
        np.testing.assert_array_equal(first, second)
    assert runs[0].network.traffic.bytes == runs[1].network.traffic.bytes == 5 * runs[0].algorithm.rounds() * 16 * D * 8


@pytest.mark.parametrize(("coded", "plain"), [("lead", "d2"), ("ef-sgd", "sgd"), ("qsgd-sgd", "sgd")])
def test_identity_gives_the_uncoded_method(coded, plain):
    """LEAD without compression is D2 (NIDS but for the order of the first step), error feedback without errors SGD.

    In iterates, to rounding, and in bytes.
    """
    runs = [
        assembled(
            RING, {"name": "logistic"}, {"name": name, "step_size": 0.05}, None, DATA, {"name": "identity"}, seed=4
        )
        for name in (coded, plain)
    ]
    first, second = (after(experiment, 30).x for experiment in runs)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-13)
    assert runs[0].network.traffic.bytes == runs[1].network.traffic.bytes > 0


# Random keys


@pytest.mark.parametrize("compressor", sorted(UNBIASED - {"identity"}))
def test_nodes_and_rounds_round_independently(compressor):
    """Equal vectors give different messages at different nodes and in different rounds, and the server has its own.

    Else errors would not average out over nodes. 300 values, so that none are equal by chance.
    """
    network = example("ef-sgd", compressor, {"name": "ring", "nodes": 4}, 0).network
    rows = np.tile(np.random.default_rng(3).standard_normal(300), (4, 1))
    codec, server = network.codec(rows), np.array([4])
    seen = []
    for round in (1, 2):
        seen += [message.tobytes() for message in codec.encode(rows, np.arange(4), round)]
        seen += [message.tobytes() for message in codec.encode(rows[:1], server, round)]
    assert len(set(seen)) == len(seen) == 10
