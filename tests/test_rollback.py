"""Steps of the server that are taken back: what goes back with them, what goes on, and what is logged."""

import numpy as np
import pytest
from tools.experiments import assembled, states

from mpiqopt.algorithms import federated, federated_round
from mpiqopt.algorithms.federated_round import COMMON, MEMORY
from mpiqopt.errors import UsageError
from mpiqopt.federation.deadline import POSTPONED, ROLLED_BACK, USED

NODES, ROUNDS, JUMP = 8, 6, 3
DATA = {"name": "synthetic", "samples": 107, "features": 5, "task": "classification", "classes": 3}
DATA |= {"split": "dirichlet", "test_fraction": 0.2}
SLOW = {"gradient_seconds": 1.0, "slowdown": [1.0, 5.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0], "sleep": False}
LATE = {"local_steps": 2, "deadline": 3.5, "late": "apply"}
TOP_K = {"name": "top-k", "fraction": 0.3}
CASES = {
    "memories": ({"name": "fedavg", "momentum": 0.9, "keep_optimizer": True}, TOP_K),
    "scaffold": ({"name": "scaffold"}, None),
    "scaffold, two ways": ({"name": "scaffold", "two_way": True}, TOP_K),
    "regions": ({"name": "hierarchical-fedavg", "regions": 2, "global_every": 2}, TOP_K),
    "regions, two ways": ({"name": "hierarchical-fedavg", "regions": 2, "two_way": True}, TOP_K),
    "optimiser": ({"name": "fedopt", "outer_optimizer": "adam"}, None),
    "late": ({"name": "fedavg", **LATE}, TOP_K),
    "late regions": ({"name": "hierarchical-fedavg", "regions": 2, **LATE}, None),
}


def rounds(monkeypatch, algorithm: dict, compressor: dict | None, jump: int = JUMP):
    """The states of a run, of which round ``jump`` is taken back, and its log of outcomes (rounds, nodes)."""
    algorithm = {"step_size": 0.2, "batch_size": 4, "clients_per_round": 5, "rollback": True, **algorithm}
    experiment = assembled(
        {"name": "ring", "nodes": NODES}, {"name": "softmax"}, algorithm, None, DATA, compressor, SLOW, seed=4
    )
    found, measured = [], iter([1.0, *(np.inf if t == jump else 1.0 for t in range(ROUNDS))])
    with monkeypatch.context() as patched:
        for module in (federated, federated_round):
            patched.setattr(module, "held_out_loss", lambda *_: next(measured))
        for _, state in zip(range(ROUNDS + 1), states(experiment), strict=False):
            found.append(state)
    return found, experiment.problem.clients.client_log.take()[1]["sampled"]


@pytest.mark.parametrize("case", CASES)
def test_all_that_a_round_has_changed_goes_back_but_for_late_clients(case, monkeypatch):
    found, outcomes = rounds(monkeypatch, *CASES[case])
    before, back = found[JUMP], found[JUMP + 1]
    late = (outcomes[JUMP] == POSTPONED).nonzero()[0]
    for name in (*COMMON, *MEMORY):
        old, new = (np.asarray(getattr(each, name)) for each in (before, back))
        if name in MEMORY and len(old):
            old, new = (np.delete(rows, late, axis=0) for rows in (old, new))
        np.testing.assert_array_equal(new, old, err_msg=name)
    assert (back.t, back.accepted) == (JUMP + 1, before.accepted)
    assert back.seconds > before.seconds
    changed = [name for name in (*COMMON, *MEMORY) if len(np.asarray(getattr(back, name)))]
    assert all((np.asarray(getattr(found[-1], name)) != np.asarray(getattr(back, name))).any() for name in changed)


@pytest.mark.parametrize("case", CASES)
def test_the_log_says_which_rounds_were_taken_back(case, monkeypatch):
    _, outcomes = rounds(monkeypatch, *CASES[case])
    assert (outcomes[JUMP] == ROLLED_BACK).any()
    assert not (outcomes[JUMP] == USED).any()
    assert not (np.delete(outcomes, JUMP, axis=0) == ROLLED_BACK).any()


@pytest.mark.parametrize("two_way", [False, True])
def test_control_variates_stay_in_step_with_the_servers(two_way, monkeypatch):
    """c is the mean of the c_i where all clients take part, in rounds that were taken back, too."""
    keys = {"name": "scaffold", "clients_per_round": "all", "two_way": two_way}
    found, _ = rounds(monkeypatch, keys, None)
    for state in found:
        np.testing.assert_allclose(state.own.mean(axis=0), state.common[0], atol=1e-14)
    assert np.abs(found[-1].common[0]).max() > 1e-3


def test_a_late_update_is_lost_with_the_round_in_which_it_arrives(monkeypatch):
    """And is not applied later; the client is free, and those who are late in that round arrive as planned."""
    keys = {"name": "fedavg", **LATE}
    found, outcomes = rounds(monkeypatch, keys, None, jump=ROUNDS)
    arrives = {t: np.flatnonzero(found[t].busy[0] == t) for t in range(1, ROUNDS) if (found[t].busy[0] == t).any()}
    assert arrives
    jump = min(arrives)
    back, said = rounds(monkeypatch, keys, None, jump=jump)
    np.testing.assert_array_equal(back[jump + 1].x, back[jump].x)
    np.testing.assert_array_equal(back[jump + 1].busy, found[jump + 1].busy)
    np.testing.assert_array_equal(said == ROLLED_BACK, (outcomes == USED) & (np.arange(ROUNDS) == jump)[:, None])


def test_late_control_variates_are_refused(monkeypatch):
    with pytest.raises(UsageError, match=r"algorithm.rollback = true: 'scaffold' .* want late = 'discard'"):
        rounds(monkeypatch, {"name": "scaffold", **LATE}, None)
