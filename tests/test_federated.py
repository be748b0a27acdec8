"""Methods with clients and a server: against dense references, against each other, and the books of what was sent."""

from itertools import islice, pairwise

import numpy as np
import pytest
from tools.dense.objectives import Objective
from tools.dense.trajectories import assert_follows
from tools.experiments import after, assembled, states
from tools.representatives import slow

from mpiqopt.config.idle import idle_keys_warning
from mpiqopt.config.parse import load
from mpiqopt.problems.client_training import ClientTrainer

NODES, ITERATIONS = 8, 25
RING = {"name": "ring", "nodes": NODES}
DATA = {"name": "synthetic", "samples": 107, "features": 5, "task": "classification", "split": "dirichlet"}
SOFTMAX = {"name": "softmax", "l2": 0.05, "nonconvex": 0.03}
# of the eight clients two are slow: five seconds a step
SLOW = {"gradient_seconds": 1.0, "slowdown": [1.0, 5.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0], "delay": 0.25, "sleep": False}


def made(algorithm: dict, problem=SOFTMAX, data=None, nodes: int = NODES, **tables):
    """A run of softmax regression on three classes that clients have very unequal shares of."""
    topology = {**RING, "nodes": nodes}
    data = {**DATA, "classes": 3} if data is None else data
    algorithm = {"step_size": 0.2, **algorithm}
    return assembled(topology, problem, algorithm, None, data, **{"start": "normal", "seed": 4, **tables})


def assert_close(first: np.ndarray, second: np.ndarray, rtol: float) -> None:
    """To ``rtol`` of the largest number."""
    np.testing.assert_allclose(first, second, rtol=0, atol=rtol * np.abs(second).max())


# Against the definition

SAMPLED = {"clients_per_round": 3, "batch_size": 4}
STEPS = {"local_steps": 3, "batch_size": 5}
LATE = {"clients_per_round": 4, "local_steps": 2, "batch_size": 4, "deadline": 3.5}
KEYS = {
    "epochs": {"name": "fedavg", "local_epochs": 2, "weighting": "samples", "server_step": 0.7, **SAMPLED},
    "nesterov": {"name": "fedavg", "momentum": 0.8, "nesterov": True, "weight_decay": 0.1, **STEPS},
    "kept momentum": {"name": "fedavg", "momentum": 0.8, "keep_optimizer": True, "schedule": "inverse", **SAMPLED},
    "adamw": {"name": "fedavg", "optimizer": "adamw", "momentum": 0.9, "weight_decay": 0.3, "step_size": 0.05, **STEPS},
    "diloco": {"name": "diloco", "step_size": 0.05, "local_steps": 3, "batch_size": 4, "clients_per_round": 5},
    "prox": {"name": "fedprox", "mu": 0.8, **SAMPLED},
    "scaffold": {"name": "scaffold", "local_epochs": 2, "server_step": 0.8, **SAMPLED},
    "scaffold, samples": {"name": "scaffold", "weighting": "samples", "schedule": "inverse-sqrt", **STEPS},
    "regions": {"name": "hierarchical-fedavg", "regions": [0, 1, 1, 2, 0, 1, 1, 1], "global_every": 3, **SAMPLED},
    "regions, samples": {"name": "hierarchical-fedavg", "regions": 3, "weighting": "samples", "global_every": 2},
    "discarded": {"name": "fedavg", **LATE},
    "waited for": {"name": "fedavg", **LATE, "min_clients": 4},
    "late": {"name": "fedavg", "late": "apply", "weighting": "samples", **LATE},
    "late, prolonged": {"name": "fedavg", "late": "apply", "min_clients": 3, **LATE},
    "late, momentum": {"name": "fedopt", "late": "apply", "outer_optimizer": "momentum", **LATE},
    "late scaffold": {"name": "scaffold", "late": "apply", **LATE},
    "late regions": {"name": "hierarchical-fedavg", "late": "apply", "global_every": 2, **LATE},
    "weak": {"name": "fedavg-drop", **LATE},
    "lost": {"name": "scaffold", "drop_out": 0.4, "weighting": "samples", **SAMPLED},
    **{
        outer: {"name": "fedopt", "outer_optimizer": outer, "outer_step": 0.3, "adaptivity": 0.01, **SAMPLED}
        for outer in ("sgd", "momentum", "nesterov", "adam", "yogi", "adagrad")
    },
    "union": {"name": "centralized", "batch_size": 7, "momentum": 0.7, "nesterov": True},
    "union, adamw": {"name": "centralized", "batch_size": 40, "optimizer": "adamw", "momentum": 0.9, "step_size": 0.05},
}


def emulated(keys: dict) -> dict | None:
    return SLOW if "deadline" in keys else None


@pytest.mark.parametrize("case", KEYS)
def test_rounds_are_those_of_the_definition(case):
    """To 1e-12, with clients that are drawn, slow, late, of unequal weights, and optimisers of all kinds."""
    assert_follows(made(KEYS[case], emulate=emulated(KEYS[case])), [np.eye(NODES)], ITERATIONS)


@pytest.mark.parametrize("name", ["fedavg", "fedavg-drop"])
def test_weak_devices_train_longer_or_are_left_out(name):
    """Of four clients on devices with limits: those drawn from a range, too, which are never all there is."""
    devices = [{}, {"time": 0.5, "memory": [0.5, 1.0]}, {"upload": 0.9}]
    experiment = made({"name": name, **LATE}, emulate=SLOW, devices=devices)
    assert_follows(experiment, [np.eye(NODES)], ITERATIONS)
    left_out = (experiment.problem.clients.client_log.take()[1]["sampled"] == 4).any(axis=0)
    assert left_out[3:].all() == left_out.any() == (name == "fedavg-drop")


CODED = {"top-k": {"name": "top-k", "fraction": 0.3}, "qsgd": {"name": "qsgd", "levels": 7, "block_size": 4}}


@pytest.mark.representatives(1)
@pytest.mark.parametrize("keys", [{"two_way": True}, {"error_feedback": False}], ids=["two-way", "without feedback"])
@pytest.mark.parametrize("compressor", CODED)
@pytest.mark.parametrize("case", ["epochs", "scaffold", "regions", "late", "late regions", "discarded", "weak", "yogi"])
def test_coded_rounds_are_those_of_the_definition(case, compressor, keys):
    """Of some clients, with late updates, whose errors wait for their next message; ways down in every round."""
    experiment = made(KEYS[case] | keys, compressor=CODED[compressor], emulate=emulated(KEYS[case]))
    assert_follows(experiment, [np.eye(NODES)], ITERATIONS)


def test_cases_have_late_clients_and_rounds_without_any():
    """Else the tests above would show nothing of them."""
    outcomes = {}
    for case in ("discarded", "late", "weak"):
        experiment = made(KEYS[case], emulate=SLOW)
        after(experiment, ITERATIONS)
        outcomes[case] = set(experiment.problem.clients.client_log.take()[1]["sampled"].ravel().tolist())
    assert outcomes == {"discarded": {0, 1, 2}, "late": {0, 1, 3}, "weak": {0, 1, 4}}


# Against each other


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-13), ("float32", 1e-6)])
def test_one_full_step_of_all_clients_is_gradient_descent(dtype, rtol):
    """Ten steps, each of which rounds to half a unit in the last place."""
    experiment = made({"name": "fedavg"}, dtype=dtype)
    f, x = Objective(experiment), experiment.start[0].astype(float)
    for state in islice(states(experiment), 1, 11):
        x = x - 0.2 * f.mean_grad(x)
        assert_close(state.x[0], x, rtol)


def final(algorithm: dict, **tables) -> np.ndarray:
    return after(made(algorithm, **tables), 10).x


def test_diloco_with_a_plain_server_is_local_sgd():
    inner = {"local_steps": 4, "batch_size": 5}
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "keep_optimizer": False}
    outer = {"outer_optimizer": "sgd", "outer_step": 1.0}
    assert_close(final({"name": "diloco", **inner, **plain, **outer}), final({"name": "local-sgd", **inner}), 1e-13)
    adam = {"optimizer": "adamw", "momentum": 0.9, "weight_decay": 0.1, "keep_optimizer": True, "step_size": 0.03}
    first = final({"name": "diloco", **inner, **outer, "step_size": 0.03})
    assert_close(first, final({"name": "fedavg", **inner, **adam}), 1e-13)


def test_one_local_step_is_minibatch_sgd():
    """Of the same samples."""
    one = final({"name": "local-sgd", "local_steps": 1, "batch_size": 5})
    assert_close(one, final({"name": "sgd", "batch_size": 5}), 1e-13)


def test_special_cases_are_the_bits_of_federated_averaging():
    plain = final({"name": "fedavg", **SAMPLED})
    np.testing.assert_array_equal(final({"name": "fedprox", "mu": 0.0, **SAMPLED}), plain)
    np.testing.assert_array_equal(final({"name": "hierarchical-fedavg", "regions": 1, **SAMPLED}), plain)
    np.testing.assert_array_equal(final({"name": "fedavg-drop", **SAMPLED}), plain)
    np.testing.assert_array_equal(
        final({"name": "fedopt", "outer_optimizer": "sgd", "outer_step": 1, **SAMPLED}), plain
    )
    coded = {"compressor": CODED["qsgd"]}
    two_way = {**SAMPLED, "two_way": True}
    plain = final({"name": "fedavg", **two_way}, **coded)
    np.testing.assert_array_equal(final({"name": "hierarchical-fedavg", "regions": 1, **two_way}, **coded), plain)


def test_equal_regions_that_always_average_are_federated_averaging():
    regions = {"name": "hierarchical-fedavg", "regions": 4, "global_every": 1, "batch_size": 4}
    assert_close(final(regions), final({"name": "fedavg", "batch_size": 4}), 1e-13)


def test_full_batches_of_the_union_are_gradient_descent_on_it():
    experiment = made({"name": "centralized"})
    f, x = Objective(experiment), experiment.start[0]
    for state in islice(states(experiment), 1, 11):
        x = x - 0.2 * np.average(f.grad(np.tile(x, (NODES, 1))), axis=0, weights=f.sizes)
        assert_close(state.x[0], x, 1e-13)


@pytest.mark.parametrize("clients", [3, "all"])
def test_scaffold_reaches_the_optimum_of_unlike_clients_where_averaging_stalls(clients):
    """|x - x*| with five full local steps: 1e-9 is 100 times what it reaches here; averaging stays 1e-2 away."""
    problem, data = {"name": "least-squares", "l2": 0.3}, {"name": "synthetic", "samples": 107, "features": 5}
    distances = {}
    for name in ("scaffold", "fedavg"):
        keys = {"name": name, "local_steps": 5, "clients_per_round": clients, "step_size": 0.1}
        experiment = made(keys, problem, data)
        x = after(experiment, 600).x[0]
        distances[name] = np.linalg.norm(x - Objective(experiment).minimiser())
    assert distances["scaffold"] < 1e-9
    assert distances["fedavg"] > 1e-3


@pytest.mark.parametrize("server_step", [*slow(0.5, 1.5), 4.0])
@pytest.mark.parametrize("steps", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_automatic_steps_converge_whatever_the_servers_step(server_step, steps):
    """The last of 3000 rounds moves x by less than 1e-9 of what the first did: of least squares, all full batches."""
    problem, data = {"name": "least-squares", "l2": 0.1}, {"name": "synthetic", "samples": 107, "features": 5}
    keys = {"name": "fedavg", "step_size": "auto", "local_steps": steps, "server_step": server_step}
    trajectory = states(made(keys, problem, data))
    moved = [np.linalg.norm(second.x - first.x) for first, second in pairwise(islice(trajectory, 3000))]
    assert moved[-1] < 1e-9 * moved[0]


def test_the_automatic_step_of_adamw_is_that_of_pytorch():
    assert made({"name": "diloco", "step_size": "auto"}).algorithm.step_size == 0.001
    keys = {"name": "centralized", "step_size": "auto", "optimizer": "adamw"}
    assert made(keys).algorithm.step_size == 0.001


@pytest.mark.torch
@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-13), ("float32", 1e-6)])
@pytest.mark.parametrize("model", ["mlp", "softmax"])
def test_one_full_step_of_a_network_is_gradient_descent(model, dtype, rtol):
    pytest.importorskip("torch")
    problem = {"name": "torch", "model": model, "threads": 1}
    experiment = made({"name": "fedavg"}, problem, dtype=dtype)
    x = experiment.start[0].copy()
    for state in islice(states(experiment), 1, 6):
        x = x - 0.2 * experiment.problem.grad(np.tile(x, (NODES, 1))).mean(axis=0)
        assert_close(state.x[0], x, rtol)


# Books


class Trainings:
    """What clients have moved in all trainings, by hosted client."""

    def __init__(self, monkeypatch, nodes: int, d: int):
        self.moved, train = np.zeros((nodes, d)), ClientTrainer.train

        def listen(trainer, client, start, work, round, out, *others):
            trained = train(trainer, client, start, work, round, out, *others)
            self.moved[client] += out - start
            return trained

        monkeypatch.setattr(ClientTrainer, "train", listen)


@pytest.mark.parametrize("two_way", [False, True])
@pytest.mark.parametrize(
    "compressor", [{"name": "one-bit"}, *CODED.values(), {"name": "low-rank"}], ids=lambda table: table["name"]
)
def test_what_was_sent_and_what_is_kept_is_what_was_moved(compressor, two_way, monkeypatch):
    """For each client, to rounding: its error has exactly what its messages have left out. So has the server's."""
    experiment = made({"name": "fedavg", "two_way": two_way, **SAMPLED}, compressor=compressor)
    trainings = Trainings(monkeypatch, NODES, experiment.problem.d)
    codec, heard = experiment.network.codec(experiment.start), np.zeros_like(experiment.start)
    encode, damping, means = codec.encode, codec.damping, np.zeros(experiment.problem.d)

    def listen(rows, nodes, round, *blocks):
        messages = encode(rows, nodes, round, *blocks)
        if nodes[0] < NODES:
            heard[nodes[0]] += damping * codec.decode(messages, nodes, round)[0]
        return messages

    codec.encode = listen
    state = after(experiment, 12)
    assert np.abs(state.error).max() > 0.01 * np.abs(heard).max()
    assert_close(heard + state.error, trainings.moved, 1e-13)
    means = heard.sum(axis=0) / SAMPLED["clients_per_round"]
    kept = state.server_error[0] if two_way else 0.0
    assert_close(state.x[0] + kept, experiment.start[0] + means, 1e-13)


def test_rounds_of_nobody_change_nothing():
    """All clients are too weak: x stays, to the bit, and no byte is sent."""
    experiment = made({"name": "fedavg-drop", "deadline": 0.1}, emulate=SLOW)
    state = after(experiment, 3)
    np.testing.assert_array_equal(state.x, experiment.start)
    assert experiment.network.traffic.bytes == 0
    assert experiment.problem.evaluations.sum() == 0


def test_rules_for_late_clients_are_idle_where_they_do_not_take_part(config):
    """`run` and `check` say so."""
    keys = {"name": "fedavg-drop", "deadline": 1.0, "late": "apply", "min_clients": 2}
    known = load(config(algorithm=keys, emulate={"gradient_seconds": 1.0}))
    warning = idle_keys_warning(known)
    for key in ("late", "min_clients"):
        assert f"algorithm.{key}" in warning
    fedavg = load(config(algorithm={**keys, "name": "fedavg"}, emulate={"gradient_seconds": 1.0}))
    assert idle_keys_warning(fedavg) == ""


# Layers that clients keep


@pytest.mark.torch
def test_personal_layers_never_travel():
    """The last layer is each client's own, and messages are as much shorter; the others are the same at all."""
    pytest.importorskip("torch")
    problem = {"name": "torch", "model": "mlp", "options": {"hidden": [4]}, "threads": 1}
    keys = {"name": "fedavg", "clients_per_round": 3, "batch_size": 4}
    whole = made(keys, problem)
    names = list(whole.problem.loss.parameter_slices(whole.shares).items())
    last = names[-2][0].rpartition(".")[0]
    own = slice(names[-2][1].start, names[-1][1].stop)
    experiment = made({**keys, "personal": [last]}, problem)
    state, drawn = after(experiment, 2), np.zeros(NODES, bool)
    drawn[experiment.problem.clients.client_log.take()[1]["sampled"].any(axis=0)] = True
    assert (state.x[:, : own.start] == state.x[0, : own.start]).all()
    changed = (state.x[:, own] != experiment.start[:, own]).any(axis=1)
    assert changed.tolist() == drawn.tolist()
    assert len(np.unique(state.x[drawn][:, own], axis=0)) == drawn.sum() > 3
    after(whole, 2)
    share = (experiment.problem.d - (own.stop - own.start)) / experiment.problem.d
    assert experiment.network.traffic.bytes == pytest.approx(share * whole.network.traffic.bytes, rel=1e-12)


@pytest.mark.torch
@pytest.mark.parametrize("keys", [{"name": "diloco", "outer_step": 2.0}, {"name": "fedopt"}, {"name": "fedavg"}])
def test_running_statistics_are_averaged_whatever_the_servers_optimiser(keys):
    """A variance that an optimiser moves by itself could be negative."""
    pytest.importorskip("torch")
    problem = {"name": "torch", "model": "resnet18", "options": {"width": 2}, "threads": 1}
    data = {"name": "digits", "split": "iid", "scale": "none"}
    keys = {**keys, "local_steps": 1, "batch_size": 4, "step_size": 0.01}
    experiment = made(keys, problem, data, nodes=2, start="auto")
    names = experiment.problem.loss.parameter_slices(experiment.shares)
    variances = [part for name, part in names.items() if name.endswith("running_var")]
    for state in islice(states(experiment), 1, 4):
        assert min(state.x[0, part].min() for part in variances) > 0
