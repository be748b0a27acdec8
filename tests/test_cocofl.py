"""Clients that train windows of a network: against a second implementation, against FedAvg, and the books of bytes."""

from pathlib import Path

import numpy as np
import pytest
from tools.dense.trajectories import assert_follows
from tools.experiments import after, assembled, states

from mpiqopt.algorithms import cocofl, measured_windows
from mpiqopt.emulation.devices import Limits
from mpiqopt.errors import UsageError
from mpiqopt.federation.feasible import FeasibleCosts
from mpiqopt.federation.profiles import counted_profile, write_profile
from mpiqopt.federation.windows import Cost

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

NODES, ROUNDS = 8, 20
DATA = {"name": "synthetic", "samples": 107, "features": 5, "task": "classification", "classes": 3}
MLP = {"name": "torch", "model": "mlp", "options": {"hidden": [6, 5], "activation": "tanh"}}
WEAK = [{"time": 0.75, "memory": [0.8, 1.0]}, {"upload": [0.45, 0.9]}, {}]
FLOAT = {"frozen": "float", "frozen_after": "float"}
SLOW = {"gradient_seconds": 1.0, "slowdown": [1.0, 5.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0], "delay": 0.25, "sleep": False}
LATE = {"deadline": 3.5, "late": "apply", "local_steps": 2, "clients_per_round": 5}


def made(algorithm: dict, devices=None, problem=None, data=None, dtype="float64", **tables):
    """A run of a small network on samples that clients have unequal shares of."""
    data = {**DATA, "split": "dirichlet", "test_fraction": 0.2} if data is None else data
    algorithm = {"name": "cocofl", "step_size": 0.2, "batch_size": 4, **algorithm}
    topology = {"name": "ring", "nodes": NODES}
    run = {"start": "auto", "seed": 4, "dtype": dtype}
    return assembled(topology, problem or MLP, algorithm, None, data, devices=devices, **tables, **run)


@pytest.fixture(scope="module")
def profile(tmp_path_factory) -> str:
    """The path of the counted profile of the network."""
    path = str(tmp_path_factory.mktemp("profiles") / "profile.json")
    write_profile(counted_profile(made(FLOAT).problem.block_counts(), 4), path)
    return path


# Against the definition

KEYS = {
    "share": {"weighting": "samples", "server_step": 0.7, "clients_per_round": 5},
    "trainers": {"aggregation": "trainers", "momentum": 0.8, "weight_decay": 0.1, "local_epochs": 2},
    "weakest": {"windows": "weakest", "schedule": "inverse", "clients_per_round": 5},
    "late": {**LATE, "weighting": "samples"},
    "lost": {"drop_out": 0.4, "clients_per_round": 6, "optimizer": "adamw", "momentum": 0.9, "step_size": 0.05},
    "discarded": {**LATE, "late": "discard", "min_clients": 2},
}
CODED = {
    "plain": ({}, None),
    "top-k": ({}, {"name": "top-k", "fraction": 0.3}),
    "qsgd both ways": ({"two_way": True}, {"name": "qsgd", "levels": 7, "block_size": 4}),
    "without feedback": ({"error_feedback": False}, {"name": "qsgd", "levels": 7}),
}


@pytest.mark.parametrize("coding", CODED)
@pytest.mark.parametrize("case", KEYS)
def test_rounds_are_those_of_the_definition(case, coding, profile):
    """Of drawn windows, late and lost clients, errors that wait for the next message with their block: to 1e-10."""
    more, compressor = CODED[coding]
    keys = {**FLOAT, **KEYS[case], **more, "profile": profile}
    experiment = made(keys, WEAK, compressor=compressor, emulate=SLOW if "deadline" in keys else None)
    assert_follows(experiment, [np.eye(NODES)], ROUNDS, rtol=1e-10)


def test_cases_have_all_kinds_of_windows_and_clients(profile):
    """Else the tests above would show nothing of them."""
    windows, outcomes = set(), set()
    for case in ("late", "lost"):
        experiment = made({**FLOAT, **KEYS[case], "profile": profile}, WEAK, emulate=SLOW)
        chosen = experiment.algorithm.portions(experiment.problem, experiment.network, 4)
        after(experiment, ROUNDS)
        windows |= {str(chosen._windows[k]) for t in range(ROUNDS) for k in chosen.draw(np.arange(NODES), t)}
        outcomes |= set(experiment.problem.clients.client_log.take()[1]["sampled"].ravel().tolist())
    assert len(windows) >= 4
    assert outcomes == {0, 1, 3, 5}


def test_devices_without_limits_do_federated_averaging_to_the_bit():
    plain, windows = made({"name": "fedavg"}), made(FLOAT)
    np.testing.assert_array_equal(after(windows, 5).x, after(plain, 5).x)
    assert windows.network.traffic == plain.network.traffic


# Books


def test_a_round_changes_what_was_trained_and_sends_nothing_else():
    """Blocks that nobody trains keep every bit; bytes are those of the windows."""
    experiment = made({**FLOAT, "clients_per_round": 1}, WEAK)
    blocks, chosen = experiment.problem.blocks(), experiment.algorithm.portions(*arguments(experiment))
    before, sent, kept = experiment.start, 0, 0
    for state in states_of(experiment, 10):
        log = experiment.problem.clients.client_log.take()[1]
        client = int(np.flatnonzero(log["sampled"][0])[0])
        portion = int(chosen.draw(np.array([client]), state.t - 1)[0])
        size = 0
        for k, block in enumerate(blocks):
            same = all((state.x[0, part] == before[0, part]).all() for part in block.parts)
            assert same != chosen.held[portion, k]
            kept += same
            size += 0 if same else sum(8 * (part.stop - part.start) for part in block.parts)
        assert log["up_bytes"][0].tolist() == [size if i == client else 0 for i in range(NODES)]
        sent += (size + 8 * experiment.problem.d) * (client != 0)
        before = state.x
    assert experiment.network.traffic.bytes == sent
    assert kept > 0


def arguments(experiment):
    return experiment.problem, experiment.network, experiment.config.run.seed


def states_of(experiment, rounds: int):
    for _, state in zip(range(rounds + 1), states(experiment), strict=False):
        if state.t:
            yield state


# Losses that jump


def test_a_step_that_makes_the_held_out_loss_jump_is_taken_back():
    """With huge steps every round is thrown away: x stays, to the bit, and clients are told so in the log."""
    keys = {**FLOAT, "rollback": True, "step_size": 1e4, "batch_size": "all"}
    experiment = made(keys, WEAK)
    state = after(experiment, 3)
    np.testing.assert_array_equal(state.x, experiment.start)
    assert np.unique(experiment.problem.clients.client_log.take()[1]["sampled"]).tolist() == [6]
    calm = made({**FLOAT, "rollback": True}, WEAK)
    np.testing.assert_array_equal(after(calm, 5).x, after(made(FLOAT, WEAK), 5).x)
    assert np.isfinite(after(calm, 5).accepted)


# What is refused


@pytest.mark.parametrize(
    ("keys", "devices", "said"),
    [
        (
            {},
            [{}, {"memory": 0.001}],
            r"devices\[1\].memory = 0.001: too little for anything to train: want at least 0\.\d+",
        ),
        ({}, [{"upload": [0.01, 1.0]}], r"devices\[0\].upload = 0.01: too little for anything to train"),
        ({"windows": "weakest"}, [{}, {"time": 0.01}], r"devices\[1\].time = 0\.01: too little"),
        ({}, [{}, {"upload": [1.0, 0.5]}], r"devices\[1\].upload = \[1.0, 0.5\]: want \[low, high\], the smaller"),
        ({"keep_optimizer": True}, None, "algorithm.keep_optimizer = true"),
        ({"personal": ["output"]}, None, "algorithm.personal"),
        ({"profile": "nowhere.json"}, None, "nowhere.json"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(keys, devices, said):
    with pytest.raises(UsageError, match=said) as caught:
        made({**FLOAT, **keys}, devices)
    assert len(str(caught.value)) <= 200
    assert "\n" not in str(caught.value)


def test_limits_that_only_together_leave_nothing_are_named_with_what_comes_closest():
    costs = [Cost(0, 1, 1.0, 1.0, 1.0), Cost(0, 0, 0.9, 0.8, 0.1), Cost(1, 1, 0.4, 0.3, 0.9)]
    feasible = FeasibleCosts(costs, [f"window {cost.window}" for cost in costs])
    with pytest.raises(UsageError) as caught:
        feasible.require(Limits(time=0.5, memory=1.0, upload=0.8), "devices[3]")
    assert str(caught.value) == (
        "devices[3]: nothing fits all limits (time 0.5, memory 1, upload 0.8); window 1-1 wants time 0.4, memory 0.3, "
        "upload 0.9"
    )


def test_losses_without_blocks_and_rollback_without_held_out_samples_are_refused():
    with pytest.raises(UsageError, match="'softmax' has no blocks"):
        made(FLOAT, problem={"name": "softmax"})
    with pytest.raises(UsageError, match=r"data\.test_fraction"):
        made({**FLOAT, "rollback": True}, data=DATA)


def test_profiles_of_other_networks_are_refused(profile):
    with pytest.raises(UsageError, match="is of another network"):
        made({**FLOAT, "profile": profile}, problem={**MLP, "options": {"hidden": [6]}})
    assert Path(profile).exists()


# Profiles that a run measures itself


def test_a_rank_alone_measures_that_it_can_train_everything(monkeypatch):
    """Once, and again after every second round; windows are then drawn from what was measured last."""
    calls = []
    measure = cocofl.measure_ranks
    monkeypatch.setattr(cocofl, "measure_ranks", lambda *given: calls.append(given) or measure(*given))
    experiment = made({**FLOAT, "profile": "measured", "profile_every": 2})
    state = after(experiment, 5)
    log = experiment.problem.clients.client_log.take()[1]
    assert len(calls) == 3
    assert (log["window_first"] == 0).all()
    assert (log["window_last"] == len(experiment.problem.blocks()) - 1).all()
    np.testing.assert_array_equal(state.x, after(made(FLOAT), 5).x)


def test_measured_rounds_are_as_long_as_the_slowest_needs_for_something():
    """The fastest of two ranks trains all of it; of a rank that is ten times slower some windows fit."""
    costs = np.array([[0, 0, 0.7, 0.6, 0.2], [0, 1, 1.0, 1.0, 1.0], [1, 1, 0.4, 0.3, 0.8]])
    of_ranks = measured_windows.costs_in_rounds(costs[None].repeat(2, axis=0), np.array([[1.0, 0.0], [2.0, 0.5]]), None)
    times = np.array([[cost.time for cost in rank] for rank in of_ranks])
    # 2 * 0.4 + 0.5 * 0.8 = 1.2 s are the least that the second rank needs, more than the first takes for all
    np.testing.assert_allclose(times, [[0.7 / 1.2, 1 / 1.2, 0.4 / 1.2], [1.5 / 1.2, 2.5 / 1.2, 1.0]])
    timed = measured_windows.costs_in_rounds(costs[None], np.array([[1.0, 0.0]]), 0.5)
    assert [cost.time for cost in timed[0]] == [1.4, 2.0, 0.8]


@pytest.mark.parametrize(
    ("name", "weakest"), [("cocofl", "window 2-3, window 2-4, window 3-4"), ("heterofl", "width 0.25")]
)
def test_check_says_what_devices_train(name, weakest, mpiqopt):
    """The example's keys are printed as the method has them, and what each class of devices draws."""
    example = Path(__file__).parents[1] / "configs" / "cocofl.toml"
    result = mpiqopt("check", example, "--set", f"algorithm.name={name}")
    assert result.returncode == 0, result.stderr
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert f"# devices[2] train {weakest}" in lines
    assert any(line.startswith("# devices[0] train ") for line in lines)
