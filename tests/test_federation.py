"""Rounds of clients: cohorts, emulated times, deadlines, optimisers of the server, regions, and the keys for them."""

import time
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import pytest

from mpiqopt.algorithms.federated_keys import Deadline
from mpiqopt.algorithms.sgd import SGD
from mpiqopt.config.idle import idle_keys_warning
from mpiqopt.config.parse import load
from mpiqopt.emulation.machines import Machines
from mpiqopt.emulation.settings import LONGEST, Emulate
from mpiqopt.errors import UsageError, WrongKeys, fits_in_error_line
from mpiqopt.federation.client_times import ClientTimes
from mpiqopt.federation.cohort import draw_cohort
from mpiqopt.federation.deadline import (
    DISCARDED,
    POSTPONED,
    USED,
    Arrivals,
    all_free,
    arrivals,
    due_clients,
    free_clients,
)
from mpiqopt.federation.outer import SLOTS, OuterOptimizer
from mpiqopt.federation.regions import region_of
from mpiqopt.field_checks import check_fields
from mpiqopt.placement.placement import Placement
from mpiqopt.streams import PURPOSES

# -------------------------------------------------------------------------------------------------- cohorts


def test_numbers_of_purposes_are_distinct():
    assert len(set(PURPOSES.values())) == len(PURPOSES)


def test_a_cohort_depends_on_seed_and_round_alone():
    """The numbers of this version, whatever was drawn before: published runs stand on them."""
    draw_cohort(1, 4, 7, 2)
    assert draw_cohort(0, 3, 20, 5).tolist() == COHORT
    assert draw_cohort(0, 4, 20, 5).tolist() != COHORT
    assert draw_cohort(1, 3, 20, 5).tolist() != COHORT


COHORT = [1, 6, 8, 12, 13]


def test_every_client_and_every_pair_is_drawn_equally_often():
    """Chi-squared over 4000 rounds of 3 of 8 clients, below what chance exceeds once in 10^4 times."""
    rounds, counts = 4000, np.zeros((8, 8))
    for round in range(rounds):
        cohort = draw_cohort(5, round, 8, 3)
        counts[np.ix_(cohort, cohort)] += 1
    alone, pairs = counts.diagonal(), counts[np.triu_indices(8, 1)]
    # variance of a count without replacement is smaller than its mean, so that these bounds are on the safe side
    assert ((alone - rounds * 3 / 8) ** 2 / (rounds * 3 / 8)).sum() < 29.9  # 7 degrees of freedom
    assert ((pairs - rounds * 3 / 28) ** 2 / (rounds * 3 / 28)).sum() < 62.6  # 27 degrees of freedom


@pytest.mark.parametrize("size", [1, 3, 5])
def test_only_eligible_clients_are_drawn_and_others_keep_their_turn(size):
    eligible = np.ones(12, bool)
    for round in range(50):
        before = draw_cohort(2, round, 12, size)
        eligible[:] = True
        eligible[before[0]] = False
        after = draw_cohort(2, round, 12, size, eligible)
        assert len(after) == size
        assert set(before[1:]) <= set(after)
        assert before[0] not in after
        assert (np.diff(after) > 0).all()
        assert after.dtype == np.int64


def test_all_clients_take_part_without_a_draw(monkeypatch):
    monkeypatch.setattr("mpiqopt.federation.cohort.random_stream", None)
    assert draw_cohort(0, 0, 5, 5).tolist() == [0, 1, 2, 3, 4]
    eligible = np.array([True, False, True])
    assert draw_cohort(0, 0, 3, 2, eligible).tolist() == [0, 2]
    assert draw_cohort(0, 0, 3, 3, eligible).tolist() == [0, 2]
    assert draw_cohort(0, 0, 3, 3, np.zeros(3, bool)).tolist() == []


def test_a_cohort_of_ten_thousand_clients_is_drawn_quickly():
    """In 1 ms here; 20 ms leave a busy machine its time."""
    began = time.perf_counter()
    cohorts = {tuple(draw_cohort(0, round, 10_000, 50)) for round in range(20)}
    assert (time.perf_counter() - began) / 20 < 0.02
    assert len(cohorts) == 20


# -------------------------------------------------------------------------------------------------- times

SLOW = Emulate(slowdown=[1.0, 2.0, 4.0, 8.0], gradient_seconds=0.1, delay=0.5, bandwidth=1000.0)


def seconds(emulate, cohort, round=0, rank=0, up=500, down=2000, steps=3):
    times = ClientTimes(emulate, Placement(4, 4, rank), seed=9)
    cohort = np.array(cohort, np.int64)
    return times.seconds(cohort, round, np.full(len(cohort), steps), up, down)


def test_times_add_up_what_the_table_says():
    assert seconds(SLOW, [0, 2, 3]).tolist() == [3.8, 4.7, 5.9]  # 2 x .5 + 2.5 + .3 s
    assert seconds(SLOW, [3, 0]).tolist() == [5.9, 3.8]
    by_client = seconds(SLOW, [0, 1], up=np.array([0, 1000]), steps=np.array([1, 2]))
    assert by_client.tolist() == [3.1, 4.4]
    assert seconds(Emulate(), [0, 1]).tolist() == [0.0, 0.0]
    assert seconds(replace(SLOW, delay=1e300), [1]).tolist() == [LONGEST]
    assert seconds(SLOW, []).shape == (0,)


def test_links_that_are_left_out_take_no_time():
    assert seconds(replace(SLOW, links=[[0, 2]]), [0, 1, 2]).tolist() == [0.3, 0.6, 4.7]


@pytest.mark.parametrize("distribution", ["exponential", "pareto"])
def test_drawn_times_depend_on_client_and_round_alone(distribution):
    emulate = replace(SLOW, slowdown_distribution=distribution, delay_distribution=distribution)
    expected = seconds(emulate, [0, 1, 2, 3], round=6)
    assert len(set(expected)) == 4
    for rank in range(4):
        assert seconds(emulate, [1, 3], round=6, rank=rank).tolist() == expected[[1, 3]].tolist()
    assert not np.any(seconds(emulate, [0, 1, 2, 3], round=7) == expected)
    of_more = ClientTimes(replace(emulate, slowdown=1.0), Placement(9), seed=9)
    of_four = ClientTimes(replace(emulate, slowdown=1.0), Placement(4), seed=9)
    args = np.arange(4), 6, np.full(4, 3), 500, 2000
    assert of_more.seconds(*args).tolist() == of_four.seconds(*args).tolist()


def test_trainings_are_as_long_as_machines_emulate_them():
    """To the nanosecond that times are rounded to."""
    emulate = Emulate(slowdown=[1.0, 2.0, 4.0, 8.0], slowdown_distribution="exponential", gradient_seconds=0.1)
    machines = Machines(emulate, Placement(4, 2, 1), seed=9)
    expected = [machines.seconds(i, 5, 3, 0.0) for i in (0, 1)]
    assert seconds(emulate, [2, 3], round=5).tolist() == pytest.approx(expected, abs=1e-9, rel=0)


def test_drawn_delays_have_their_mean():
    """Of 2 x 4 x 2000 exponential delays: 5 standard deviations of their mean."""
    emulate = Emulate(delay=1.0, delay_distribution="exponential")
    mean = np.mean([seconds(emulate, [0, 1, 2, 3], round=round) for round in range(2000)]) / 2
    assert abs(mean - 1) < 5 / np.sqrt(16_000)


# -------------------------------------------------------------------------------------------------- deadlines


def at_once(times, **rule) -> Arrivals:
    """What becomes of the first round of so many clients, which take ``times`` seconds."""
    return arrivals(np.arange(len(times)), np.array(times, float), 0, all_free(len(times)), **rule)


def test_without_a_deadline_a_round_lasts_as_long_as_the_slowest():
    result = at_once([3.0, 1.0, 2.0])
    assert result.outcome.tolist() == [USED] * 3
    assert result.used.all()
    assert (result.seconds, result.busy_until.tolist()) == (3.0, [-1] * 3)
    assert at_once([]).seconds == 0.0


def test_late_updates_are_discarded_and_their_clients_are_free_again():
    result = at_once([0.5, 1.0, 1.1, 7.0], deadline=1.0)
    assert result.outcome.tolist() == [USED, USED, DISCARDED, DISCARDED]
    assert result.applied_in.tolist() == [0, 0, -1, -1]
    assert result.seconds == 1.0
    assert free_clients(result.busy_until, 1).all()
    assert at_once([0.5, 0.25], deadline=1.0).seconds == 0.5  # nobody to wait for


def test_rounds_are_prolonged_until_enough_clients_have_arrived():
    for least, length, outcome in ((1, 2.0, [1, 2, 2, 2]), (2, 3.0, [1, 1, 2, 2]), (9, 9.0, [1, 1, 1, 1])):
        result = at_once([2.0, 3.0, 5.0, 9.0], deadline=1.0, min_clients=least)
        assert (result.seconds, result.outcome.tolist()) == (length, outcome)
    assert at_once([2.0, 2.0, 5.0], deadline=1.0).outcome.tolist() == [USED, USED, DISCARDED]
    late = at_once([2.0, 3.5], deadline=1.0, late="apply")
    assert late.outcome.tolist() == [USED, POSTPONED]
    assert late.applied_in.tolist() == [0, 2]  # 1.5 s after the end of the round


@pytest.mark.parametrize("deadline", [0.1, 0.3, 0.7, 1.0])
def test_late_updates_come_as_many_rounds_later_as_they_take(deadline):
    """Also where the quotient of two decimal numbers is no whole number in binary ones."""
    drawn = np.random.default_rng(0).uniform(deadline, 9, 200)
    result = at_once([deadline, *drawn], deadline=deadline, late="apply")
    assert result.applied_in.tolist() == [0] + [ceil(t / deadline) - 1 for t in drawn]
    whole = at_once([round(k * deadline, 9) for k in range(1, 30)], deadline=deadline, late="apply")
    assert whole.applied_in.tolist() == list(range(29))


def test_arrivals_change_none_of_their_arguments():
    busy, times = all_free(3), np.array([3.0, 0.5, 2.0])
    first = arrivals(np.arange(3), times, 0, busy, deadline=1.0, late="apply")
    assert busy.tolist() == [-1] * 3
    assert times.tolist() == [3.0, 0.5, 2.0]
    assert first.busy_until.tolist() == [2, -1, 1]
    assert first.outcome.dtype == np.int8
    assert first.applied_in.dtype == first.busy_until.dtype == np.int64


def test_rounds_in_which_somebody_is_at_work_last_to_the_deadline():
    """So that a late update has arrived in the round in which it is applied, also where nobody can be drawn."""
    busy = np.array([3, -1])
    assert arrivals(np.array([1]), np.array([0.5]), 3, busy, deadline=1.0, late="apply").seconds == 1.0
    assert arrivals(np.array([1]), np.array([0.5]), 4, busy, deadline=1.0, late="apply").seconds == 0.5
    nobody = arrivals(np.array([], np.int64), np.array([]), 3, busy, deadline=1.0, late="apply")
    assert (nobody.seconds, nobody.outcome.tolist(), nobody.busy_until.tolist()) == (1.0, [], [3, -1])


@pytest.mark.parametrize("least", [1, 3])
def test_every_late_update_is_applied_once_when_it_has_arrived(least):
    """Over 200 rounds of a clock of seconds, no client is drawn while it is at work, and none is forgotten."""
    nodes, deadline, clock = 20, 1.0, 0.0
    busy, due, sent, got = all_free(nodes), {}, 0, 0
    stream = np.random.default_rng(4)
    for t in range(200):
        cohort = draw_cohort(3, t, nodes, 6, free_clients(busy, t))
        assert not set(due) & set(cohort.tolist())
        times = stream.exponential(1.5, len(cohort))
        result = arrivals(cohort, times, t, busy, deadline, "apply", least)
        for client, when, late in zip(cohort.tolist(), clock + times, ~result.used, strict=True):
            if late:
                due[client] = when
        clock, busy = clock + result.seconds, result.busy_until
        arrived = due_clients(busy, t).tolist()
        assert all(due.pop(client) <= clock + 1e-9 for client in arrived)
        sent, got = sent + len(cohort), got + int(result.used.sum()) + len(arrived)
    assert sent > got > sent - nodes
    assert got + len(due) == sent


# -------------------------------------------------------------------------------------------------- the server


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_of_one_is_federated_averaging_to_the_bit(dtype):
    x, g = np.random.default_rng(0).normal(size=(2, 1000)).astype(dtype)
    got, memory = OuterOptimizer().apply(x, g, ())
    assert got.tobytes() == (x - g).tobytes()
    assert memory == ()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SLOTS)
def test_optimisers_keep_types_and_change_no_argument(name, dtype):
    outer = OuterOptimizer(name)
    x, g = np.random.default_rng(0).normal(size=(2, 9)).astype(dtype)
    memory = outer.start(x)
    arguments = x, g, *memory
    copies = [each.copy() for each in arguments]
    got, after = outer.apply(x, g, memory)
    assert len(memory) == len(after) == outer.slots
    assert {each.dtype for each in (got, *memory, *after)} == {np.dtype(dtype)}
    assert all(np.array_equal(a, b) for a, b in zip(arguments, copies, strict=True))


def iterated(outer: OuterOptimizer, gradients) -> np.ndarray:
    """The iterates of an optimiser from 0 along given pseudo-gradients."""
    x, rows = np.zeros(gradients.shape[1]), []
    memory = outer.start(x)
    for g in gradients:
        x, memory = outer.apply(x, g, memory)
        rows.append(x)
    return np.array(rows)


GRADIENTS = np.random.default_rng(7).normal(size=(12, 6)) * np.logspace(-3, 1, 6)


@pytest.mark.parametrize("name", ["adam", "yogi", "adagrad"])
def test_adaptive_optimisers_are_those_of_the_paper(name):
    """Algorithm 2 of Reddi et al. 2021, coordinate by coordinate, with Delta = -g."""
    step, beta1, beta2, tau = 0.3, 0.8, 0.95, 0.01
    got = iterated(OuterOptimizer(name, step, beta1, beta2, tau), GRADIENTS)
    for j in range(GRADIENTS.shape[1]):
        x, m, v = 0.0, 0.0, tau**2
        for t, delta in enumerate(-GRADIENTS[:, j]):
            m = beta1 * m + (1 - beta1) * delta
            sign = float(v > delta**2) - float(v < delta**2)
            v = {
                "adagrad": v + delta**2,
                "yogi": v - (1 - beta2) * delta**2 * sign,
                "adam": beta2 * v + (1 - beta2) * delta**2,
            }[name]
            x += step * m / (v**0.5 + tau)
            assert got[t, j] == pytest.approx(x, rel=1e-12)  # of float64's 2e-16, over 12 steps


@pytest.mark.torch
@pytest.mark.parametrize(("name", "keys"), [("sgd", {}), ("momentum", {}), ("nesterov", {"nesterov": True})])
def test_momentum_is_that_of_pytorch(name, keys):
    torch = pytest.importorskip("torch")
    momentum = 0.0 if name == "sgd" else 0.9
    parameter = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.SGD([parameter], lr=0.7, momentum=momentum, **keys)
    ours = iterated(OuterOptimizer(name, 0.7, momentum), GRADIENTS)
    for row, g in zip(ours, GRADIENTS, strict=True):
        parameter.grad = torch.tensor(g)
        theirs.step()
        np.testing.assert_allclose(row, parameter.detach().numpy(), rtol=1e-12)


@pytest.mark.torch
def test_adam_is_that_of_pytorch_but_for_its_correction_of_the_bias():
    """Whose factors are put into its step and epsilon; its second moment starts at tau^2."""
    torch = pytest.importorskip("torch")
    step, beta1, beta2, tau = 0.3, 0.8, 0.95, 0.01
    parameter = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.Adam([parameter], betas=(beta1, beta2))
    second = torch.full_like(parameter, tau**2)
    theirs.state[parameter] = {
        "step": torch.tensor(0.0),
        "exp_avg": torch.zeros_like(parameter),
        "exp_avg_sq": second.detach(),
    }
    ours = iterated(OuterOptimizer("adam", step, beta1, beta2, tau), GRADIENTS)
    for t, (row, g) in enumerate(zip(ours, GRADIENTS, strict=True), start=1):
        root = (1 - beta2**t) ** 0.5
        theirs.param_groups[0] |= {"lr": step * (1 - beta1**t) / root, "eps": tau / root}
        parameter.grad = torch.tensor(g)
        theirs.step()
        np.testing.assert_allclose(row, parameter.detach().numpy(), rtol=1e-10)


# -------------------------------------------------------------------------------------------------- regions


@pytest.mark.parametrize(("nodes", "regions"), [(10, 3), (7, 7), (5, 1), (12, 4)])
def test_regions_are_contiguous_and_of_equal_size(nodes, regions):
    got = region_of(nodes, regions)
    place = [Placement(nodes, regions, r).counts[r] for r in range(regions)]
    assert np.bincount(got).tolist() == place
    assert (np.diff(got) >= 0).all()
    assert got.dtype == np.int64


@pytest.mark.parametrize(
    ("regions", "said"),
    [
        (9, "algorithm.regions = 9: want 1 to topology.nodes = 4"),
        (0, "algorithm.regions = 0: want 1 to topology.nodes = 4"),
        ([0, 1], "algorithm.regions: a list of 2 regions for topology.nodes = 4 nodes; want one number, or one for"),
        ([0, 2, 2, 0], "algorithm.regions = [0, 2, 2, 0]: nobody is in region 1; want the numbers 0 to 1, each"),
        ([0, -1, 0, 0], "algorithm.regions = [0, -1, 0, 0]: nobody is in region 1"),
    ],
)
def test_regions_that_are_none_are_one_line(regions, said):
    with pytest.raises(UsageError) as error:
        region_of(4, regions)
    assert str(error.value).startswith(said)
    assert fits_in_error_line(str(error.value))


# -------------------------------------------------------------------------------------------------- keys


@dataclass(frozen=True, kw_only=True)
class Rounds(Deadline, SGD):
    """A method with all keys of rounds."""

    federated = True


@pytest.mark.parametrize(
    ("key", "value"),
    [("clients_per_round", 0), ("clients_per_round", "some"), ("deadline", 0.0), ("late", "wait"), ("min_clients", 0)],
)
def test_values_that_a_key_cannot_have_are_refused(key, value):
    with pytest.raises(WrongKeys, match=rf"^algorithm.{key}"):
        check_fields(Rounds, {key: value}, "algorithm")
    good = {"clients_per_round": 3, "deadline": 2.0, "late": "apply", "min_clients": 2}
    assert check_fields(Rounds, good, "algorithm").items() >= good.items()


def test_no_round_waits_for_more_clients_than_it_has():
    with pytest.raises(UsageError, match=r"^algorithm.min_clients = 3: want at most .*clients_per_round = 2$"):
        Rounds(clients_per_round=2, min_clients=3)
    assert Rounds(min_clients=3).cohort_size(5) == 5
    assert Rounds(clients_per_round=2).cohort_size(5) == 2


def test_more_clients_than_nodes_are_refused(config):
    topology = load(config()).topology()
    Rounds(clients_per_round=8).require(topology, "zero")
    with pytest.raises(UsageError, match=r"clients_per_round = 9: want at most topology.nodes = 8, or 'all'"):
        Rounds(clients_per_round=9).require(topology, "zero")


def test_a_deadline_wants_times_that_do_not_depend_on_the_machine():
    Rounds().require_links(Emulate())
    Rounds(deadline=1.0).require_links(Emulate(gradient_seconds=0.1))
    with pytest.raises(UsageError) as error:
        Rounds(deadline=1.0).require_links(Emulate(slowdown=3.0))
    assert str(error.value).startswith("algorithm.deadline = 1.0: ")
    assert fits_in_error_line(str(error.value))
    with pytest.raises(UsageError, match=r"^emulate.loss = 0.1"):
        Rounds(deadline=1.0).require_links(Emulate(gradient_seconds=0.1, loss=0.1))


@pytest.mark.parametrize(
    ("given", "emulate", "idle"),
    [
        ({"late": "apply", "min_clients": 2}, {}, ["algorithm.late (deadline is not given)", "algorithm.min_clients"]),
        ({"late": "apply", "min_clients": 2, "deadline": 1.0}, {}, []),
        ({}, {"sleep": False}, ["emulate.sleep (nothing is emulated)"]),
        ({}, {"sleep": False, "gradient_seconds": 0.1}, []),
        ({}, {"region_bandwidth": 1e6}, ["emulate.region_bandwidth (the method has no regions)"]),
    ],
)
def test_keys_that_change_nothing_are_named(config, given, emulate, idle):
    known = load(config())
    tables = known.tables | {"algorithm": {"name": "sgd", **given}, "emulate": emulate}
    # a short name: lines are cut where they are too long
    changed = known._replace(path="a.toml", tables=tables, algorithm=Rounds(**given), emulate=Emulate(**emulate))
    warning = idle_keys_warning(changed)
    assert bool(warning) == bool(idle)
    assert all(key in warning for key in idle)
