"""Weighted means over cohorts: what they are, that ranks do not change a bit, and what they send."""

import subprocess
import sys
import time

import numpy as np
import pytest
from tools.cohort import COHORTS, COMPRESSORS, GROUPS, NODES, SEED, Case, D, cases, hosted, made_server, upload
from tools.commands import TIMEOUT, mpiexec, with_tools
from tools.thread_ranks import on_ranks

from mpiqopt.compressors.codec import Codec
from mpiqopt.emulation.links import RoundDelays
from mpiqopt.emulation.settings import Emulate
from mpiqopt.errors import NotFinite
from mpiqopt.network.uplinks import Uplinks
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.transport.serial import SerialTransport

SERIAL = SerialTransport()
RANKS = [2, 3, 8, NODES]
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
cohorts = pytest.mark.parametrize("cohort", COHORTS)
compressors = pytest.mark.parametrize("compressor", COMPRESSORS)


def own_codec(name: str, dtype: str = "float64") -> Codec:
    """A decoder that has seen nothing of the server."""
    return Codec(find_member("compressor", name)(**COMPRESSORS[name]), D, np.dtype(dtype), SEED, NODES)


def assert_mean(mean: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> None:
    """Weights, products, sums of five levels at most, the total and the quotient are rounded: 10 times at most."""
    wanted = np.average(rows.astype(np.float64), axis=0, weights=weights)
    scale = np.average(np.abs(rows).astype(np.float64), axis=0, weights=weights)
    assert np.all(np.abs(mean - wanted) <= 10 * np.finfo(rows.dtype).eps * scale)


# What they are


@dtypes
@cohorts
def test_mean_of_vectors_as_they_are(cohort, dtype):
    case = Case(cohort, dtype=dtype)
    mean, echo, back, _ = upload(SERIAL, case)
    assert mean.dtype == dtype
    assert_mean(mean, case.rows, case.weights)
    np.testing.assert_array_equal(echo, case.rows)
    np.testing.assert_array_equal(back, mean)


@dtypes
@cohorts
@compressors
def test_mean_of_what_is_decoded(compressor, cohort, dtype):
    """The echo is what another decoder makes of each message, and the download what it makes of the server's."""
    case, codec = Case(cohort, compressor, dtype), own_codec(compressor, dtype)
    mean, echo, back, _ = upload(SERIAL, case, rounds=3)
    members, server = case.members, np.array([NODES])
    np.testing.assert_array_equal(echo, codec.decode(codec.encode(case.rows, members, 3), members, 3))
    assert_mean(mean, echo, case.weights)
    np.testing.assert_array_equal(back, codec.decode(codec.encode(mean[None], server, 4), server, 4)[0])


def test_equal_rows_with_equal_weights_have_themselves_as_their_mean():
    """To the bit for a power of two of them: weights are 1, and sums exact."""
    row = np.random.default_rng(0).standard_normal(D).astype(np.float32)
    for count in (1, 2, 4, 8):
        server, _ = made_server(SERIAL, None)
        mean, _ = server.cohort.weighted_mean(np.tile(row, (count, 1)), np.arange(count), np.full(count, 37.0))
        np.testing.assert_array_equal(mean, row)


def test_sums_keep_their_weights():
    case = Case("some")
    server, _ = made_server(SERIAL, None)
    total, _ = server.cohort.weighted_mean(case.rows, case.members, case.weights, normalize=False)
    assert_mean(total / case.weights.sum(), case.rows, case.weights)


@pytest.mark.parametrize("compressor", [None, "qsgd"])
def test_nothing_to_average_is_zero(compressor):
    """An empty cohort, and one whose weights are all zero."""
    for count in (0, 3):
        server, _ = made_server(SERIAL, compressor)
        rows = np.ones((count, D))
        mean, _ = server.cohort.weighted_mean(rows, np.arange(count), np.zeros(count), compressor is not None)
        np.testing.assert_array_equal(mean, np.zeros(D))


@pytest.mark.parametrize("compressor", [None, "eden", "one-bit"])
@cohorts
def test_means_of_groups_are_means_over_their_members(cohort, compressor):
    """To the bit, since a message does not depend on who else is in the cohort; and zero where nobody is."""
    case = Case(cohort, compressor, grouped=True)
    means, _, _, _ = upload(SERIAL, case, rounds=3)
    assert means.shape == (5, D)
    for group, mean in enumerate(means):
        mine = GROUPS[case.members] == group
        server, _ = made_server(SERIAL, compressor, rounds=3)
        coded = compressor is not None
        alone, _ = server.cohort.weighted_mean(case.rows[mine], case.members[mine], case.weights[mine], coded)
        np.testing.assert_array_equal(mean, alone)
        assert mine.any() == np.any(mean != 0)


# Ranks


@pytest.mark.representatives(1)
@pytest.mark.parametrize("ranks", RANKS)
@compressors
def test_bits_do_not_depend_on_ranks_coded(compressor, ranks):
    same_on_ranks([case for case in cases() if case.compressor == compressor], ranks)


@pytest.mark.parametrize("ranks", RANKS)
def test_bits_do_not_depend_on_ranks(ranks):
    same_on_ranks([case for case in cases() if case.compressor is None], ranks)


def same_on_ranks(some: list[Case], ranks: int) -> None:
    """Every rank has what one process has, some hosting nobody of the cohort, and the counters say what moved."""
    for case in some:
        mean, echo, back, alone = upload(SERIAL, case)
        found, moved = on_ranks(ranks, lambda transport, case=case: upload(transport, case))
        for own_mean, _, own_back, traffic in found:
            np.testing.assert_array_equal(own_mean, mean)
            np.testing.assert_array_equal(own_back, back)
            assert (traffic.rounds, traffic.bytes, traffic.mpi_bytes) == (alone.rounds, alone.bytes, moved)
        np.testing.assert_array_equal(np.concatenate([own_echo for _, own_echo, _, _ in found]), echo)
        assert alone.mpi_bytes == 0
        assert moved > 0


@pytest.mark.mpi
@pytest.mark.parametrize("numbers", [(1, 3), pytest.param((1, 2, 8), marks=pytest.mark.slow)])
def test_bits_are_the_same_under_mpiexec(numbers):
    said = set()
    for ranks in numbers:
        start = [mpiexec(), "-n", str(ranks), sys.executable, "-m", "tools.cohort"]
        result = subprocess.run(start, env=with_tools(), capture_output=True, text=True, timeout=TIMEOUT)
        assert result.returncode == 0, result.stderr
        said.add(result.stdout.strip())
    assert len(said) == 1
    assert len(said.pop()) == 64  # a digest, and no complaint


# One by one


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("compressor", [None, "qsgd"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_rows_may_come_in_any_order(ranks, compressor, grouped):
    """And their array may be used again at once."""
    case = Case("all", compressor, grouped=grouped)

    def stream(transport):
        server, _ = made_server(transport, compressor, rounds=3)
        groups, coded = GROUPS if grouped else None, compressor is not None
        mean = server.cohort.begin(case.members, case.weights, coded, D, np.dtype(float), groups=groups)
        buffer = np.empty(D)
        for place in np.random.default_rng(1).permutation(np.arange(NODES)[hosted(transport, case.members)]):
            buffer[:] = case.rows[place]
            assert mean.add(int(case.members[place]), buffer) is None
        return mean.finish()

    wanted = upload(SERIAL, case)[0]
    for mean in on_ranks(ranks, stream)[0]:
        np.testing.assert_array_equal(mean, wanted)


def test_each_member_is_handed_over_once():
    server, _ = made_server(SERIAL, None)
    mean = server.cohort.begin(np.array([2, 5]), np.ones(2), False, D, np.dtype(float))
    mean.add(5, np.ones(D))
    for node in (5, 3, 12):
        with pytest.raises(ValueError, match=f"node {node}"):
            mean.add(node, np.ones(D))
    with pytest.raises(ValueError, match="node 2: no row"):
        mean.finish()


@pytest.mark.parametrize(
    ("members", "weights"), [([1, 2], [1.0, -1.0]), ([1, 2], [1.0, np.nan]), ([1, 2], [1.0]), ([2, 1], [1.0, 1.0])]
)
def test_cohorts_that_are_none_are_refused(members, weights):
    server, _ = made_server(SERIAL, None)
    with pytest.raises(ValueError, match=r"weights|members"):
        server.cohort.begin(np.array(members), np.array(weights), False, D, np.dtype(float))


def test_a_vector_that_cannot_be_encoded_is_its_nodes():
    case = Case("some", "qsgd")
    server, _ = made_server(SERIAL, "qsgd")
    rows = case.rows
    rows[3, 5] = np.nan
    with pytest.raises(NotFinite) as error:
        server.cohort.weighted_mean(rows, case.members, case.weights, True)
    assert error.value.row == case.members[3]


# Messages


@compressors
def test_a_message_does_not_depend_on_who_else_is_in_the_cohort(compressor):
    rows = np.random.default_rng(3).standard_normal((NODES, D))
    heard = {}
    for cohort in COHORTS.values():
        server, _ = made_server(SERIAL, compressor, rounds=6)
        _, echo = server.cohort.weighted_mean(rows[cohort], np.array(cohort), np.ones(len(cohort)), True, echo=True)
        for node, row in zip(cohort, echo, strict=True):
            np.testing.assert_array_equal(heard.setdefault(node, row), row)


def test_rounds_are_rounded_by_other_numbers():
    """Of the same server; and a server of a resumed run, which has the counters alone, goes on with the same."""
    rows, members = np.random.default_rng(3).standard_normal((NODES, D)), np.arange(NODES)
    server, traffic = made_server(SERIAL, "qsgd")
    means = []
    for _ in range(3):
        mean, _ = server.cohort.weighted_mean(rows, members, np.ones(NODES), True)
        means.append((mean, server.cohort.spread_to(rows[0], members, True)))
    assert traffic.rounds == 3
    assert not np.array_equal(means[0][0], means[1][0])
    assert not np.array_equal(means[0][1], means[1][1])
    resumed, _ = made_server(SERIAL, "qsgd", rounds=2)
    mean, _ = resumed.cohort.weighted_mean(rows, members, np.ones(NODES), True)
    np.testing.assert_array_equal(mean, means[2][0])
    np.testing.assert_array_equal(resumed.cohort.spread_to(rows[0], members, True), means[2][1])


@compressors
def test_some_blocks_are_decoded_as_they_are_among_all(compressor):
    codec, nodes = own_codec(compressor), np.array([2, 5, 9])
    messages = codec.encode(np.random.default_rng(3).standard_normal((3, D)), nodes, 1).copy()
    rows = codec.decode(messages, nodes, 1)
    for low in range(codec.blocks + 1):
        for high in range(low, codec.blocks + 1):
            (a, m), (b, n) = codec.boundary(low), codec.boundary(high)
            for i in range(3):
                some = codec.decode(messages[i : i + 1, m:n], nodes[i : i + 1], 1, low=low, high=high)
                np.testing.assert_array_equal(some, rows[i : i + 1, a:b])


# Bytes and waiting


@pytest.mark.parametrize("cohort", ["one", "server", "some", "all"])
@pytest.mark.parametrize("compressor", [None, "qsgd", "top-k"])
def test_bytes_of_one_node_per_rank(compressor, cohort):
    """A member sends its message but for the blocks that it serves itself; then every rank gets the mean, 8 d bytes.

    As many messages go up as down: one for each member but node 0, which plays the server.
    """
    case = Case(cohort, compressor)
    found, moved = on_ranks(NODES, lambda transport: upload(transport, case)[-1])
    size = 8 * D if compressor is None else own_codec(compressor).nbytes
    messages = sum(node > 0 for node in COHORTS[cohort])
    assert found[0].bytes == 2 * messages * size
    assert found[0].rounds == 4
    served = np.zeros(NODES)
    if compressor is None:
        served = 8 * np.diff(np.arange(NODES + 1) * D // NODES)
    else:
        codec = own_codec(compressor)
        for block in range(codec.blocks):  # node i serves block b if ceil(i B/n) <= b < ceil((i + 1) B/n)
            served[block * NODES // codec.blocks] += codec.boundary(block + 1)[1] - codec.boundary(block)[1]
    up = sum(size - served[node] for node in COHORTS[cohort])
    down = (NODES - 1) * size if compressor else 0
    assert found[0].mpi_bytes == moved == up + (NODES - 1) * 8 * D + down


def test_bytes_of_groups_leave_out_their_first_nodes():
    """Regions begin at nodes 0, 1, 5 and 6: of the whole network nine nodes send."""
    _, _, _, traffic = upload(SERIAL, Case("all", grouped=True))
    assert traffic.bytes == (9 + 12) * 8 * D  # up within regions, down to all from node 0


class Links(RoundDelays):
    """Emulated links that note what they are told, and delay nobody."""

    def __init__(self):
        self.told = []

    def delay(self, links, bytes, began, among=None):
        self.told.append((links[among].tolist(), bytes))


def test_the_members_of_the_cohort_are_waited_for():
    links = Links()
    server, _ = made_server(SERIAL, "qsgd")
    server.cohort._uplinks = Uplinks(NODES, links)
    case, size = Case("two"), own_codec("qsgd").nbytes
    for wait in (True, False):
        mean, _ = server.cohort.weighted_mean(case.rows, case.members, case.weights, True, wait=wait)
        server.cohort.spread_to(mean, case.members, False, wait=wait)
    both = [[0, 0], [0, 12]]
    assert links.told == [(both, size), (both, 8 * D)]


def test_only_links_that_carry_something_delay():
    """A tenth of a second to node 2, whose link alone is slow; 0.05 s is generous for none."""
    uplinks = Uplinks(NODES, RoundDelays(Emulate(delay=0.1, links=[[0, 2]]), Placement(NODES), 0))
    for cohort, slow in (([], False), ([1, 3], False), ([1, 2], True), (None, True)):
        began = time.perf_counter()
        uplinks.wait(100, None if cohort is None else np.array(cohort, np.int64))
        assert (time.perf_counter() - began >= 0.1) == slow
        assert slow or time.perf_counter() - began < 0.05
