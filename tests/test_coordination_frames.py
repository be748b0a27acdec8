"""Frames of coordination: the format of packed integers, and damage, which is an error and never a crash."""

import numpy as np
import pytest
from tools.mailboxes import (
    APART,
    EXTREMES,
    PIECE,
    PIECES,
    PIECES_HEARD,
    PROTOCOLS,
    STAGE,
    STAGE_HEARD,
    TILE,
    as_array,
    at_ranks,
    lockstep,
    mailboxes,
    topology,
)
from tools.packed import in_rice, in_tiles, number

from mpiqopt._coordination import Lockstep, Mailboxes, ShareRules, pack


def of_width(rng: np.random.Generator, bits: int, size: int) -> list[int]:
    """Integers of which the largest needs so many bits when folded; both signs."""
    codes = [int(code) >> 64 - bits if bits else 0 for code in rng.integers(0, 1 << 64, size, np.uint64)]
    codes[int(rng.integers(size))] = (1 << bits) - 1 if rng.random() < 0.5 or not bits else 1 << bits - 1
    return [code // 2 if code % 2 == 0 else -(code + 1) // 2 for code in codes]


def one_hop(values: np.ndarray) -> tuple[bytes, Lockstep]:
    """The frame that brings a vector from node 1 to node 0, and the engine of node 0 that waits for it."""
    above, below = (lockstep(local, len(values)) for local in at_ranks(topology("path", 2), 2, "tree"))
    above.begin(0, np.zeros((1, len(values)), np.int64))
    below.begin(0, values[None])
    below.step()
    return below.take(1).tobytes(), above


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1000, TILE, TILE + 1, 2 * TILE + 7])
def test_integers_of_all_widths_survive_packing(size):
    rng = np.random.default_rng(size)
    for bits in range(65):
        tiles = [of_width(rng, bits, min(TILE, size - at)) for at in range(0, size, TILE)]
        values = np.concatenate([np.array(tile, np.int64) for tile in tiles])
        frame, above = one_hop(values)
        assert frame == number(PIECE) + in_tiles(values.tolist())
        above.receive(as_array(frame))
        y, z = above.mass
        assert np.array_equal(y, values)
        assert z == 2


def frame_of(payload: bytes, link=0, kind=PIECES, numbered=False, call=0, count=1) -> np.ndarray:
    return as_array(number(link << 3 | kind) + (number(call) + number(count) + b"\0" if numbered else b"") + payload)


def engines_of(protocol: str, d: int = 3) -> list[Lockstep | Mailboxes]:
    """Both kinds, with call 0 begun, hosting half of a ring of 4 nodes: 3 links in and 3 out."""
    local = at_ranks(topology("ring", 4), 2, protocol)[0]
    values = np.zeros((2, d), np.int64)
    stepping, mailing = lockstep(local, d), mailboxes(local, d, True)
    stepping.begin(0, values)
    mailing.begin(0, values, np.ones(2, np.int64))
    return [stepping, mailing]


ONE = number(1)
HEARD = {"kind": PIECES_HEARD}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("payload", "options"),
    [
        (ONE + in_tiles([1, 2, 3])[:-1], {}),
        (ONE[:0], {}),
        (b"\x80" * 20, {}),
        (ONE, {}),
        (ONE + in_tiles([1, 2, 3]) + b"\0", {}),
        (ONE + in_tiles([2**40, 2, 3])[:-1], {}),
        (ONE + b"\x21" + bytes(99), {}),
        (ONE + b"\x3f" + bytes(99), {}),
        (ONE + b"\x41" + bytes(99), {}),
        (ONE + b"\xff" + bytes(99), {}),
        (ONE + b"\x83" + number(100) + bytes(99), {}),
        (ONE + in_tiles([1, 2, 3]), {"link": 6}),
        (ONE + in_tiles([1, 2, 3]), {"link": 2**29}),
        (ONE + in_tiles([1, 2, 3]), {"link": 2**32 - 1}),
        (ONE + in_tiles([1, 2, 3]), {"link": 2**60}),
        (b"", {"kind": 0}),
        (b"", {"kind": 7}),
        (b"\1", {"kind": EXTREMES}),
        (b"\x40" + bytes(8), {"kind": EXTREMES}),
        (b"\0", {"kind": EXTREMES}),
        (b"", {"kind": APART, "link": 6}),
        (b"", {"kind": PIECES_HEARD, "link": 6}),
        (b"", {"kind": STAGE_HEARD, "link": 6}),
    ],
    ids=range(23),
)
def test_a_malformed_frame_is_an_error(payload, options, protocol):
    for engine in engines_of(protocol):
        frame = frame_of(payload, numbered=isinstance(engine, Mailboxes), **options)
        with pytest.raises(ValueError, match="a frame is not what it says it is"):
            engine.receive(frame)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "payload",
    [
        b"\x83" + number(2) + b"\x02\x02",  # Golomb-Rice codes: cut off, no parameter, too long, too wide
        b"\x83" + number(2) + b"\x41\x00",
        b"\x83" + number(2) + b"\x40\x00",
        b"\x82" + number(3) + b"\x02\x00\x0f",
        b"\xc3" + number(9) + bytes(9),  # range coder: too long, too wide
        b"\xc1" + number(1) + b"\x01",
    ],
    ids=range(6),
)
def test_what_no_coder_has_written_is_an_error(payload, protocol):
    """It is noticed when it is read: in turn, that is with the step that it is for."""
    stepping, mailing = engines_of(protocol)
    for engine in (stepping, mailing):
        frame = frame_of(ONE + payload, numbered=engine is mailing)
        with pytest.raises(ValueError, match="a frame is not what it says it is"):  # noqa: PT012
            engine.receive(frame)
            mailing.advance(0.0)


FIND, FOUND = 8, 9


def find_frame(*fields: int, kind=FIND, link=0, stage=1, numbered=False) -> np.ndarray:
    """A frame about the tree that nodes look for: author, up, down, child."""
    return as_array(b"".join(map(number, [link << 3, kind, *([stage] if numbered else []), *fields])))


def refused(engine: Lockstep | Mailboxes, frame: np.ndarray) -> bool:
    try:
        engine.receive(frame)
    except ValueError as error:
        assert "a frame is not what it says it is" in str(error)  # noqa: PT017
        return True
    return False


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ((0, 1, 1), {}),
        ((), {}),
        ((0, 1, 1, 0), {"kind": 7}),
        ((0, 1, 1, 0), {"kind": 10}),
        ((0, 1, 1, 0), {"kind": FIND + 256}),
        ((0, 1, 1, 0), {"link": 4}),
        ((0, 1, 1, 0), {"link": 4, "kind": FOUND}),
        ((0, 1, 1, 0), {"link": 2**29}),
        ((0, 1, 1, 0), {"link": 2**32}),
        ((4, 1, 1, 0), {}),
        ((0, 5, 1, 0), {}),
        ((0, 1, 5, 0), {}),
        ((0, 1, 1, 4), {}),
        ((2**32, 1, 1, 0), {}),
        ((0, 2**63, 1, 0), {}),
    ],
    ids=range(15),
)
def test_what_nodes_cannot_know_is_an_error(fields, options, protocol):
    """Of a ring of 4: nodes 0 to 3, at most 3 links apart, 4 links in and out of the two nodes here."""
    for engine in engines_of(protocol):
        assert refused(engine, find_frame(*fields, numbered=isinstance(engine, Mailboxes), **options))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_only_nodes_that_look_for_a_tree_hear_of_it(protocol):
    for kind in (FIND, FOUND):
        for engine in engines_of(protocol):
            numbered = isinstance(engine, Mailboxes)
            frame = find_frame(0, 1, 1, 3, kind=kind, link=2, numbered=numbered)
            assert refused(engine, frame) == (protocol != "collect")


@pytest.mark.parametrize(("stage", "known"), [(0, False), (1, True), (4, True), (5, False), (2**31, False)])
def test_stages_end_with_the_one_that_says_that_all_were_heard(stage, known):
    """D = 2: that is stage 4."""
    mailing = engines_of("collect")[1]
    assert refused(mailing, find_frame(0, 1, 1, 0, stage=stage, numbered=True)) != known


def test_a_child_has_a_link_for_what_it_asks():
    """On a directed ring nobody sends sums to where they would have to go against the link."""
    for kind, child, possible in ((FIND, 1, True), (FIND, 2, False), (FOUND, 1, False), (FOUND, 2, True)):
        local = at_ranks(topology("directed-ring", 3), 3, "collect")[1]
        assert refused(lockstep(local, 1), find_frame(0, 1, 1, child, kind=kind)) != possible


def test_a_frame_ends_within_its_header():
    for frame in (b"\x81", number(PIECES) + bytes(8), number(PIECES) + bytes(3)):
        with pytest.raises(ValueError, match="a frame is not what it says it is"):
            engines_of("ftqc")[1].receive(as_array(frame))


def test_pieces_of_a_wrong_call_are_an_error():
    with pytest.raises(ValueError, match="a frame is not what it says it is"):
        engines_of("ftqc")[1].receive(frame_of(ONE + in_tiles([1, 2, 3]), numbered=True, call=5))


@pytest.mark.parametrize("kind", [STAGE, PIECES_HEARD, STAGE_HEARD])
def test_in_steps_nothing_is_acknowledged(kind):
    with pytest.raises(ValueError, match="a frame is not what it says it is"):
        engines_of("ftqc")[0].receive(frame_of(b"", kind=kind))


@pytest.mark.parametrize(
    ("protocol", "weights"),
    [("ftqc", [0, 8, 2**40]), ("tree", [4, 2**62]), ("collect", [4, 2**62]), ("integer-push-sum", [2**63])],
)
def test_a_piece_has_a_weight_that_can_be(protocol, weights):
    """Weights say how many pieces a node splits off: a wild one would be written out of bounds."""
    for weight in weights:
        stepping, mailing = engines_of(protocol)
        mailing.advance(0.0)  # push-sum: a node takes its first step before it hears others
        for engine in (stepping, mailing):
            frame = frame_of(number(weight) + in_tiles([1, 2, 3]), numbered=engine is mailing)
            with pytest.raises(ValueError, match="a frame is not what it says it is"):
                engine.receive(frame)


def test_random_damage_does_not_crash():
    """An error, or wrong integers that nobody notices: there is no check sum, and MPI does not lose bytes."""
    rng = np.random.default_rng(0)
    for trial in range(1000):
        numbered, d = trial % 2 == 1, 3 if trial % 4 < 2 else 70
        widths = [of_width(rng, bits, d) for bits in (0, 3, 12, 30, 60)]
        frames = [frame_of(ONE + in_tiles(values), numbered=numbered) for values in widths]
        if d > 3:  # fewer are always in tiles
            small = np.rint(3 * rng.standard_normal((2, d))).astype(np.int64)
            frames += [frame_of(ONE + pack(own, 1 + k), numbered=numbered) for k, own in enumerate(small)]
        extremes = in_rice([5] * (d - 1) + [60]) + in_tiles([1] + [0] * (d - 1))
        frames.append(frame_of(extremes, kind=EXTREMES, numbered=numbered))
        frames += [find_frame(0, 2, 0, 1, kind=kind, link=1, numbered=numbered) for kind in (FIND, FOUND)]
        damaged = np.concatenate([frames[k] for k in rng.integers(len(frames), size=3)])
        damaged[rng.integers(damaged.size, size=2)] ^= np.uint8(1) << rng.integers(8, size=2, dtype=np.uint8)
        engine = engines_of(str(rng.choice(list(PROTOCOLS))), d)[trial % 2]
        try:
            engine.receive(damaged[: rng.integers(damaged.size + 1)].copy())
        except ValueError as error:
            assert "a frame is not what it says it is" in str(error)  # noqa: PT017


def test_wrong_arguments_are_refused():
    stepping, mailing = engines_of("ftqc")
    for engine in (stepping, mailing):
        with pytest.raises(IndexError):
            engine.take(2)
        with pytest.raises(IndexError):
            engine.filled(-1)
        with pytest.raises(TypeError):
            engine.receive(np.zeros(4, np.int8))
    with pytest.raises(ValueError, match="want 6 values, got 3"):
        stepping.begin(0, np.zeros((1, 3), np.int64))
    with pytest.raises(TypeError):
        mailing.begin(0, np.zeros((2, 3)), np.ones(2, np.int64))
    with pytest.raises(ValueError, match="budget: want 2 values, got 1"):
        mailing.begin(0, np.zeros((2, 3), np.int64), np.ones(1, np.int64))
    local = at_ranks(topology("ring", 4), 2, "ftqc")[0]
    rules = local.rules(3)
    Lockstep(local.wiring, rules)
    with pytest.raises(ValueError, match="of other links already"):
        Mailboxes(local.wiring, rules)
    with pytest.raises(TypeError):
        Lockstep(local.wiring, None)
    with pytest.raises(ValueError, match="boxes"):
        Mailboxes(local.wiring._replace(ranks=()), local.rules(3))
    with pytest.raises(ValueError, match="weight: want 2 values, got 1"):
        Lockstep(local.wiring, ShareRules(3, 8, np.ones(1, np.int64), 4, 0.0))
