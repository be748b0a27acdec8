"""Coders of vectors of integers: they give back what they got, in as few bytes as they promise, on all processors."""

import hashlib
import os
import subprocess
import sys
from math import ceil, lgamma, log, pi

import numpy as np
import pytest
from tools.commands import TIMEOUT
from tools.mailboxes import PROTOCOLS, Adversary, at_ranks, topology
from tools.packed import in_rice, in_tiles, number

from mpiqopt._coordination import Lockstep, pack, unpack
from mpiqopt._processor import LEVELS, lacking
from mpiqopt.coordination.protocol import Message, NodeProtocol

TILES, RICE, RANGE = range(3)
MOST = np.iinfo(np.int64)


def normal(rng: np.random.Generator, d: int, spread: float) -> np.ndarray:
    return np.rint(spread * rng.standard_normal(d)).astype(np.int64)


def laplace(rng: np.random.Generator, d: int, spread: float) -> np.ndarray:
    return np.rint(spread / 2**0.5 * rng.laplace(size=d)).astype(np.int64)


def sparse(rng: np.random.Generator, d: int, spread: float) -> np.ndarray:
    """One in a hundred is not zero."""
    return np.where(rng.random(d) < 0.01, normal(rng, d, spread), 0)


def spiky(rng: np.random.Generator, d: int, spread: float) -> np.ndarray:
    """Some are as large as any."""
    spikes = rng.integers(MOST.min, MOST.max, d, endpoint=True) >> rng.integers(0, 64, d)
    return np.where(rng.random(d) < 0.02, spikes, normal(rng, d, spread))


def extreme(rng: np.random.Generator, d: int, spread: float) -> np.ndarray:
    return rng.choice([MOST.min, MOST.max, 0, -1, MOST.min + 1], d)


def layered(rng: np.random.Generator, d: int, spread: float) -> np.ndarray:
    """The spread changes along the vector."""
    return normal(rng, d, spread * 10.0 ** rng.uniform(-2, 2, d // 200 + 1).repeat(200)[:d])


KINDS = (normal, laplace, sparse, spiky, extreme, layered)
SPREADS = (0.0, 0.3, 2.0, 20.0, 300.0, 1e5, 1e12)


def vectors():
    """Many kinds and lengths, from 1 to 5000; the lengths about those of tiles."""
    rng = np.random.default_rng(0)
    lengths = [*range(1, 10), 63, 64, 65, 127, 128, 129, 255, 1023, 1024, 1025, 1026, 1027, 2048, 5000]
    for d in [*lengths, *rng.integers(10, 5000, 20).tolist()]:
        for kind in KINDS:
            yield kind(rng, d, float(rng.choice(SPREADS)))


@pytest.mark.parametrize("coder", [TILES, RICE, RANGE])
def test_what_was_packed_comes_back(coder):
    for values in vectors():
        packed = pack(values, coder)
        assert np.array_equal(unpack(packed, values.size), values)
        assert np.array_equal(unpack(packed, values.size, -values), np.zeros_like(values))
        assert len(packed) <= len(pack(values, TILES))


def test_tiles_and_rice_codes_are_the_bytes_of_their_formats():
    rng = np.random.default_rng(1)
    for d in (1, 2, 3, 7, 64, 100, 128, 130, 1000, 1100):
        for kind in KINDS:
            for spread in (0.3, 3.0, 1e3):
                values = kind(rng, d, spread)
                assert pack(values, TILES) == in_tiles(values.tolist())
                assert pack(values, RICE) == in_rice(values.tolist())


def rice_bytes(values: np.ndarray) -> int:
    """Golomb-Rice codes of tiles of 128 values: a byte, and codes of the best parameter; no more than that."""
    codes, bits = np.where(values >= 0, 2 * values, -2 * values - 1), 0
    for tile in np.split(codes, range(128, codes.size, 128)):
        bits += 8 + min(int((tile >> k).sum()) + (k + 1) * tile.size for k in range(40)) * bool(tile.any())
    return ceil(bits / 8)


def adaptive_bytes(values: np.ndarray, unary: int = 12) -> int:
    """An ideal adaptive coder, and a byte.

    Krichevsky and Trofimov's estimator says whether |v| > 0, > 1, ..., > 11 from how often it was so before; signs
    are raw bits, and so is Elias's gamma code of what is beyond.
    """
    size, nats, bits = np.abs(values), 0.0, int(np.count_nonzero(values))
    for least in range(unary):
        met, more = int((size >= least).sum()), int((size > least).sum())
        if met:
            nats += log(pi) + lgamma(met + 1) - lgamma(more + 0.5) - lgamma(met - more + 0.5)
    bits += sum(2 * int(v - unary + 1).bit_length() - 1 for v in size[size >= unary])
    return ceil((nats / log(2) + bits) / 8) + 1


@pytest.mark.parametrize("kind", [normal, laplace, sparse])
@pytest.mark.parametrize("spread", [0.3, 0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("d", [640, 1000, 5000, 100_000])
def test_coders_are_as_short_as_they_promise(kind, spread, d):
    """Rice tiles end at whole bytes, vectors have a header: a byte a tile and 4 more. Range coder: 2 % and 4 bytes."""
    values = kind(np.random.default_rng(d), d, spread)
    assert len(pack(values, RICE)) <= rice_bytes(values) + d / 128 + 4
    assert len(pack(values, RANGE)) <= 1.02 * adaptive_bytes(values) + 4


def test_one_large_value_does_not_make_others_long():
    values = normal(np.random.default_rng(0), 1280, 2.0)
    short = {coder: len(pack(values, coder)) for coder in (RICE, RANGE)}
    values[300] = -(2**40)
    for coder, size in short.items():
        assert len(pack(values, coder)) <= size + 16  # 40 bits twice, and a more careful parameter


def digest() -> str:
    """Of all that coders write."""
    return hashlib.sha256(b"".join(pack(values, coder) for values in vectors() for coder in range(3))).hexdigest()


def test_all_processors_write_the_same_bytes():
    script = "import test_integer_coders; print(test_integer_coders.digest())"
    for level in LEVELS:
        if not lacking(level):
            run = subprocess.run(
                [sys.executable, "-c", script],
                env=os.environ | {"MPIQOPT_KERNELS": level, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                cwd=os.path.dirname(__file__), capture_output=True, text=True, timeout=TIMEOUT,
            )  # fmt: skip
            assert run.stdout.strip() == digest(), (level, run.stderr)


def test_damaged_bytes_are_an_error_or_other_integers():
    """Never a crash; what is cut off, too long or says impossible things is always an error."""
    rng, errors = np.random.default_rng(0), 0
    for trial in range(3000):
        d = int(rng.integers(3, 700))
        values = KINDS[trial % len(KINDS)](rng, d, float(rng.choice(SPREADS)))
        packed = np.frombuffer(pack(values, int(rng.integers(3))), np.uint8).copy()
        with pytest.raises(ValueError, match="a frame is not what it says it is"):
            unpack(packed[: rng.integers(packed.size)].copy(), d)
        with pytest.raises(ValueError, match="a frame is not what it says it is"):
            unpack(np.append(packed, np.uint8(0)), d)
        packed[rng.integers(packed.size, size=3)] ^= np.uint8(1) << rng.integers(8, size=3, dtype=np.uint8)
        if trial % 3 == 0:
            packed[: min(packed.size, 9)] = rng.integers(0, 256, min(packed.size, 9))
        try:
            assert unpack(packed, d).shape == (d,)
        except ValueError:
            errors += 1
    assert errors > 300  # most damage is not noticed, but some is


@pytest.mark.parametrize("first", [128 + 3, 192 + 3, 255])
@pytest.mark.parametrize("rest", [b"", b"\0", b"\x80" * 20, number(2) + b"\1", number(2**63) + bytes(9)])
def test_headers_of_coders_that_lie(first, rest):
    for d in (3, 300):
        with pytest.raises(ValueError, match="a frame is not what it says it is"):
            unpack(bytes([first]) + rest, d)


def test_codes_are_no_wider_than_the_header_says():
    """The bound for int32 at nodes is taken from there."""
    values = normal(np.random.default_rng(0), 1000, 20.0)
    for coder in (RICE, RANGE):
        packed = bytearray(pack(values, coder))
        assert packed[0] == 64 * (coder + 1) + 8
        packed[0] -= 1
        with pytest.raises(ValueError, match="a frame is not what it says it is"):
            unpack(bytes(packed), 1000)


def test_wrong_coders_are_refused():
    (local,) = at_ranks(topology("ring", 4), 1, "ftqc")
    rules = local.rules(3)
    for coder in (-1, 3):
        with pytest.raises(ValueError, match=f"coder = {coder}: want 0"):
            pack(np.zeros(3, np.int64), coder)
    for coder in (-1, 4):
        with pytest.raises(ValueError, match=f"coder = {coder}: want 0"):
            rules.coder = coder
    rules.coder = RANGE
    assert rules.coder == RANGE
    Lockstep(local.wiring, rules)
    with pytest.raises(ValueError, match="too late"):
        rules.coder = RICE


class Swap(NodeProtocol):
    """Two nodes that tell each other their vectors."""

    def start(self, site, values):
        return {"own": values, "told": False, "other": None}

    def step(self, node):
        told, node["told"] = node["told"], True
        return [] if told else [Message(0, 0, node["own"])]

    def absorb(self, node, label, values):
        node["other"] = values

    def look(self, node):
        return None if node["other"] is None else node["own"] + node["other"]


def coordinated(protocol: str | NodeProtocol, coder: int, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Results and bytes of a call in lock-step in one process."""
    graph = topology("path" if len(values) == 2 else "ring", len(values))
    (local,) = at_ranks(graph, 1, protocol)
    rules = local.rules(values.shape[1])
    rules.coder = coder
    nodes = Lockstep(local.wiring, rules)
    nodes.begin(1, values)
    for _ in range(200):
        nodes.step()
        nodes.deliver()
    if nodes.votes:
        nodes.look_around()
        for _ in range(local.wiring.diameter):
            nodes.flood()
            nodes.deliver()
        assert nodes.agreed
    assert nodes.votes or nodes.finished
    return np.array(nodes.result), int(nodes.bytes_sent.sum())


@pytest.mark.parametrize(("protocol", "nodes"), [(name, 6) for name in PROTOCOLS] + [(Swap(), 2)])
def test_coordinators_find_the_same_in_fewer_bytes(protocol, nodes):
    values = np.stack([laplace(np.random.default_rng(i), 1500, 3.0) for i in range(nodes)])
    found = [coordinated(protocol, coder, values) for coder in range(3)]
    for (low, high), _ in found:
        assert np.array_equal(low, values.sum(axis=0) // nodes)
        assert np.array_equal(high, -(-values.sum(axis=0) // nodes))
    tiles, rice, ranges = (size for _, size in found)
    assert ranges < rice < 0.95 * tiles


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("coder", [RICE, RANGE])
def test_coders_on_links_that_lose_frames(protocol, coder):
    """Pieces wait, are added up and sent again, packed by the coder."""
    values = np.stack([[laplace(np.random.default_rng((c, i)), 200, 4.0) for i in range(5)] for c in range(3)])
    network = Adversary(topology("ring", 5), 2, protocol, 200, seed=coder, coder=coder)
    for results in network.run(values):
        for (low, _), own in zip(results, values, strict=True):
            assert np.array_equal(low, own.sum(axis=0) // 5)
