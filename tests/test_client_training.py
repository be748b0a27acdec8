"""Local training of clients: optimisers, batches, what is counted, and how long rounds last."""

import time

import numpy as np
import pytest
from tools.experiments import after, assembled, states

from mpiqopt.problems.client_training import Work
from mpiqopt.problems.layers import Layers
from mpiqopt.problems.local_optimizers import LocalOptimizer
from mpiqopt.problems.vector_model import VectorModel

NODES = 8
DATA = {"name": "synthetic", "samples": 107, "features": 5, "task": "classification", "split": "dirichlet"}


def made(algorithm: dict, split: str = "dirichlet", **tables):
    """A run of logistic regression at clients with very unequal shares; split "iid": with 13 or 14 samples."""
    topology, problem = {"name": "ring", "nodes": NODES}, {"name": "logistic", "l2": 0.05}
    algorithm, data = {"step_size": 0.1, **algorithm}, {**DATA, "split": split}
    return assembled(topology, problem, algorithm, None, data, seed=4, **tables)


# Optimisers

OPTIMISERS = {
    "sgd": LocalOptimizer("sgd", 0.1),
    "momentum": LocalOptimizer("sgd", 0.1, momentum=0.9),
    "nesterov": LocalOptimizer("sgd", 0.1, momentum=0.9, nesterov=True),
    "decay": LocalOptimizer("sgd", 0.1, decay=0.3),
    "all": LocalOptimizer("sgd", 0.1, momentum=0.9, nesterov=True, decay=0.3),
    "adamw": LocalOptimizer("adamw", 0.1, momentum=0.8, second_momentum=0.95),
    "adamw-decay": LocalOptimizer("adamw", 0.1, momentum=0.8, decay=0.3),
    "adamw-plain": LocalOptimizer("adamw", 0.1),
}
GRADIENTS = np.random.default_rng(7).normal(size=(12, 6)) * np.logspace(-3, 1, 6)


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["array", "tensor"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_are_those_of_pytorch(name, kind):
    """Twelve steps on gradients of all sizes: to 1e-12, of float64's 2e-16."""
    torch = pytest.importorskip("torch")
    ours = OPTIMISERS[name]
    parameter = torch.linspace(-1, 1, 6, dtype=torch.float64, requires_grad=True)
    if ours.name == "sgd":
        keys = {"momentum": ours.momentum, "nesterov": ours.nesterov}
        theirs = torch.optim.SGD([parameter], lr=ours.step, weight_decay=ours.decay, **keys)
    else:
        betas = ours.momentum, ours.second_momentum
        theirs = torch.optim.AdamW([parameter], lr=ours.step, weight_decay=ours.decay, betas=betas, eps=ours.epsilon)
    point = np.linspace(-1, 1, 6) if kind == "array" else torch.linspace(-1, 1, 6, dtype=torch.float64)
    kept = ours.begin(point)
    assert len(kept) == ours.slots
    for t, g in enumerate(GRADIENTS):
        parameter.grad = torch.tensor(g)
        theirs.step()
        ours.move(point, g.copy() if kind == "array" else torch.tensor(g), kept, t)
        np.testing.assert_allclose(np.asarray(point), parameter.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_keep_single_precision(name):
    point, gradient = np.ones(6, np.float32), GRADIENTS[0].astype(np.float32)
    kept = OPTIMISERS[name].begin(point)
    OPTIMISERS[name].move(point, gradient, kept, 0)
    assert {each.dtype for each in (point, gradient, *kept)} == {np.dtype(np.float32)}
    assert np.isfinite(point).all()


# Batches


class Seen:
    """Which samples clients took, in the order of steps: (client, samples or None for all)."""

    def __init__(self, monkeypatch):
        self.taken: list[tuple[int, np.ndarray | None]] = []
        differentiate = VectorModel.differentiate

        def listen(model, client, chosen, key):
            self.taken.append((client, None if chosen is None else chosen.copy()))
            differentiate(model, client, chosen, key)

        monkeypatch.setattr(VectorModel, "differentiate", listen)

    def of(self, client: int) -> list:
        return [chosen for who, chosen in self.taken if who == client]


def test_every_sample_comes_once_an_epoch_in_another_order(monkeypatch):
    """Two rounds of two epochs: four orders of each client, none like another, nor that of another client."""
    seen, experiment = Seen(monkeypatch), made({"name": "fedavg", "local_epochs": 2, "batch_size": 3}, "iid")
    after(experiment, 2)
    orders = set()
    for client, size in enumerate(experiment.problem.sizes.tolist()):
        samples = np.concatenate(seen.of(client)).reshape(4, size)
        assert np.array_equal(np.sort(samples, axis=1), np.tile(np.arange(size), (4, 1)))
        assert [len(each) for each in seen.of(client)] == 4 * [min(3, size - k) for k in range(0, size, 3)]
        orders |= {tuple(row) for row in samples}
    assert len(orders) == 4 * NODES


def test_batches_of_a_client_do_not_depend_on_who_else_takes_part(monkeypatch):
    taken = []
    for clients in (2, "all"):
        seen = Seen(monkeypatch)
        after(made({"name": "fedavg", "batch_size": 3, "clients_per_round": clients}, "iid"), 1)
        monkeypatch.undo()
        taken.append({client: np.concatenate(seen.of(client)).tolist() for client, _ in seen.taken})
    few, everybody = taken
    assert len(few) == 2 < len(everybody) == NODES
    assert few.items() <= everybody.items()


def test_steps_draw_with_replacement(monkeypatch):
    """In 300 batches of 3 some sample comes twice, and every one comes."""
    seen, experiment = Seen(monkeypatch), made({"name": "local-sgd", "local_steps": 30, "batch_size": 3}, "iid")
    after(experiment, 10)
    for client, size in enumerate(experiment.problem.sizes.tolist()):
        batches = np.array(seen.of(client))
        assert batches.shape == (300, 3)
        assert set(batches.ravel().tolist()) == set(range(size))
        assert any(len(set(batch)) < 3 for batch in batches.tolist())


@pytest.mark.parametrize("keys", [{"local_epochs": 3}, {"local_steps": 3}])
def test_batches_larger_than_the_data_are_all_of_them(keys, monkeypatch):
    seen = Seen(monkeypatch)
    large = after(made({"name": "fedavg", "batch_size": 50, **keys}), 2)
    assert all(chosen is None for _, chosen in seen.taken)
    assert len(seen.taken) == 2 * 3 * NODES
    np.testing.assert_array_equal(large.x, after(made({"name": "fedavg", "batch_size": "all", **keys}), 2).x)


@pytest.mark.parametrize("keys", [{"local_epochs": 2}, {"local_steps": 3}])
@pytest.mark.parametrize("batch", ["all", 1, 7, 50])
def test_steps_and_evaluations_are_counted_before_and_after(keys, batch):
    """What `check` predicts is what clients do."""
    experiment = made({"name": "fedavg", "batch_size": batch, **keys})
    work, sizes = experiment.algorithm.work(0), experiment.problem.sizes
    after(experiment, 1)
    assert experiment.problem.clients.client_log.take()[1]["steps"][0].tolist() == work.count_steps(sizes).tolist()
    assert experiment.problem.evaluations.tolist() == work.count_evaluations(sizes).tolist()


def test_a_training_does_what_its_work_says():
    """Pull, correction and memory of an optimiser, against three steps by hand."""
    experiment = made({"name": "fedavg"})
    problem, trainer = experiment.problem, experiment.problem.client_trainer(experiment.streams)
    rng = np.random.default_rng(0)
    start, correction, velocity = rng.normal(size=(3, problem.d))
    y, v = start.copy(), velocity.copy()
    for _ in range(3):
        rows = np.zeros((NODES, problem.d))
        rows[2] = y
        v = 0.5 * v + problem.grad(rows)[2] + 0.7 * (y - start) + correction
        y = y - 0.1 * v
    reached, memory = np.empty(problem.d), (velocity,)
    work = Work(LocalOptimizer("sgd", 0.1, momentum=0.5), epochs=3, pull=0.7)
    trained = trainer.train(2, start, work, 0, reached, correction, memory)
    np.testing.assert_allclose(reached, y, rtol=1e-13)
    np.testing.assert_allclose(velocity, v, rtol=1e-12)
    assert trained.steps == 3
    assert np.isnan(trained.accuracy)


def test_the_loss_of_a_training_is_the_mean_over_samples():
    """Of one epoch, before each step: with a step of nearly 0 that of all samples, whatever the batches."""
    experiment = made({"name": "fedavg", "batch_size": 3, "step_size": 1e-12})
    after(experiment, 1)
    losses = experiment.problem.clients.client_log.take()[1]["loss"][0]
    np.testing.assert_allclose(losses, experiment.problem.values(experiment.start), rtol=1e-6)  # stored in float32


def test_coordinates_that_travel_before_an_end():
    names = {"a": slice(0, 3), "b": slice(3, 5), "c": slice(5, 9)}
    assert [Layers(9, names, ()).travelling_before(end) for end in (0, 4, 9)] == [0, 4, 9]
    assert [Layers(9, names, ("b",)).travelling_before(end) for end in (0, 2, 4, 6, 9)] == [0, 2, 3, 4, 7]


# Rounds

SLOW = {"gradient_seconds": 1.0, "slowdown": [1.0, 5.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0], "sleep": False}


@pytest.mark.parametrize("late", ["discard", "apply"])
def test_rows_of_clients_say_what_became_of_them(late):
    """Two steps take 2 s or 10 s; rounds of 3.5 s: slow clients come two rounds late, or never."""
    keys = {"name": "fedavg", "local_steps": 2, "batch_size": 3, "deadline": 3.5, "late": late}
    experiment = made(keys, emulate=SLOW)
    state = after(experiment, 4)
    _, rows = experiment.problem.clients.client_log.take()
    message = 8 * experiment.problem.d
    wanted = {
        "discard": {"sampled": [2] * 4, "steps": [0] * 4, "seconds": [10] * 4, "up_bytes": [0] * 4},
        # in the round after the one in which its update is applied it is drawn again
        "apply": {
            "sampled": [3, 0, 0, 3],
            "steps": [2, 0, 0, 2],
            "seconds": [10, 0, 0, 10],
            "up_bytes": [0, 0, message, 0],
        },
    }[late]
    fast = {"sampled": [1] * 4, "steps": [2] * 4, "seconds": [2] * 4, "up_bytes": [message] * 4}
    for name in fast:
        for client in range(NODES):
            assert rows[name][:, client].tolist() == (wanted if client in (1, 5) else fast)[name]
    assert (np.isnan(rows["loss"]) == (rows["steps"] == 0)).all()
    assert (rows["down_bytes"] == message * (rows["sampled"] > 0)).all()
    assert state.seconds == 4 * 3.5


def test_emulated_time_is_counted_without_waiting():
    began = time.perf_counter()
    state = after(made({"name": "fedavg"}, emulate=SLOW), 20)
    assert state.seconds == 20 * 5.0
    assert time.perf_counter() - began < 50


@pytest.mark.parametrize("emulate", [{"gradient_seconds": 0.02}, {"delay": 0.01}, {"slowdown": 300.0}])
def test_rounds_last_as_long_as_emulated(emulate):
    """Where trainings take what they take here, 300 times as long: some 5 ms for 20 microseconds."""
    experiment = made({"name": "fedavg", "local_steps": 1}, emulate={**emulate, "sleep": True})
    trajectory = states(experiment)
    next(trajectory)
    began = time.perf_counter()
    for _ in range(5):
        state = next(trajectory)
    taken = time.perf_counter() - began
    seconds = experiment.problem.clients.client_log.take()[1]["seconds"]
    assert taken >= 0.99 * seconds.max(axis=1).sum() > 0
    if "slowdown" not in emulate:
        assert taken >= state.seconds == pytest.approx(5 * 0.02)


def test_seconds_of_clients_are_transfers_and_trainings():
    """Without a given time of gradients the real one is added, which no rank but the client's own knows."""
    experiment = made({"name": "fedavg"}, emulate={"delay": 100.0, "slowdown": 2.0, "sleep": False})
    after(experiment, 1)
    seconds = experiment.problem.clients.client_log.take()[1]["seconds"][0].astype(float)
    assert ((seconds >= 200) & (seconds < 250)).all()
    plain = made({"name": "fedavg"})
    after(plain, 1)
    assert (plain.problem.clients.client_log.take()[1]["seconds"] > 0).all()
