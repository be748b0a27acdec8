"""Settings of coordinated methods that are wrong, and integers that do not fit, end in one line."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.coordinated import coordinations, coordinators, usable
from tools.refusals import refused

from mpiqopt.cli import main


def of_columns(folder: Path, values: list[float], **algorithm) -> dict:
    """Tables of a run whose node i has the mean values[i]: from zero with a = 1 its first u_i is just that."""
    np.savez(folder / "data.npz", X=np.array(values)[:, None], y=np.zeros(len(values)))
    return {
        "run": {"iterations": 20},
        "data": {"name": "npz", "path": "data.npz", "split": "contiguous"},
        "problem": {"name": "mean"},
        "topology": {"name": "ring", "nodes": len(values)},
        "algorithm": {"name": "ftqc-dgd", "step_size": 1.0, "zoom": 1.0, "min_quantization_step": 1e-300, **algorithm},
    }


def overflow(capsys, *arguments: str) -> str:
    """The one line of a run that ends with status 1."""
    status = main(["run", *arguments])
    out, err = capsys.readouterr()
    assert (status, out) == (1, ""), err
    assert err.startswith("mpiqopt: ")
    assert err.count("\n") == 1
    return err


# Of one sign, so that numbers are no farther from the average, the centre of later rounds, than from zero.
SIZES = {
    "one node": [-1.0, -1.0, -1.0, -1.0, -1.0, -1e6, -1.0, -1.0],
    # 1.0003e6/2^58 = 3.4705e-12
    "a limit that is rounded down": [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0003e6, -1.0, -1.0],
    "several": [-1.0, -2e5, -1.0, -1.0, -7e5, -1e6, -3e5, -1.0],
}


@pytest.mark.representatives(1)
@pytest.mark.parametrize("code", ["innovations", "points"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@coordinations
@coordinators
def test_integers_that_do_not_fit(coordinator, coordination, sizes, code, config, capsys, tmp_path, monkeypatch):
    """One line: who coordinates, a node with too large values, the step, and a step that can be used. It can."""
    monkeypatch.chdir(tmp_path)
    how = {"code": code, "coordinator": coordinator, "coordination": coordination}
    path = config(**of_columns(tmp_path, sizes, **how, quantization_step=1e-15))
    message = overflow(capsys, path, "-q")
    node = int(re.search(r"node (\d+)", message)[1])
    assert f"{coordinator}: round 1: node {node} has values of up to {abs(sizes[node]):g}" in message
    assert "quantization_step 1e-15" in message
    step = usable(message)
    assert step < 1e-4
    again = overflow(capsys, path, "-q", "--overwrite", "--set", f"algorithm.quantization_step={0.9 * step}")
    assert f"quantization_step {0.9 * step:g}" in again
    assert main(["run", path, "-q", "--overwrite", "--set", f"algorithm.quantization_step={step}"]) == 0
    with h5py.File(tmp_path / "small.h5") as file:
        assert file["final/x"][0, 0] == pytest.approx(np.mean(sizes), rel=1e-9)


@pytest.mark.mpi
@coordinations
def test_one_node_that_does_not_fit_ends_all_ranks(coordination, mpiqopt, config, tmp_path):
    """While the others wait for it: status 1, and one line that says it."""
    how = {"coordinator": "ftqc", "code": "points", "coordination": coordination}
    path = config(**of_columns(tmp_path, SIZES["one node"], quantization_step=1e-15, **how))
    result = mpiqopt("run", path, "-q", ranks=3)
    assert result.returncode == 1
    assert result.stderr.count("mpiqopt: ") == 1
    assert "ftqc: round 1: node 5 has values of up to 1e+06" in result.stderr
    assert usable(result.stderr) == pytest.approx(1e6 / 2**58, rel=0.01)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("code", ["innovations", "points"])
def test_divergence_is_one_line(code, config, capsys, tmp_path, monkeypatch):
    """Iterates that blow up between two records leave the grid before they are infinite; the first record stays."""
    monkeypatch.chdir(tmp_path)
    algorithm = {"name": "ftqc-dgd", "step_size": 1e3, "code": code}
    path = config(algorithm=algorithm, run={"iterations": 1000}, record={"every": 1000})
    message = overflow(capsys, path, "-q")
    assert "collect: round" in message
    with h5py.File(tmp_path / "small.h5") as file:
        assert file["iteration"][()].tolist() == [0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"algorithm": {"name": "ftqc-dgdm"}}, "(did you mean 'ftqc-dgd'?)"),
        ({"algorithm": {"name": "ftqc-dgd", "quantisation_step": 1}}, "(did you mean 'quantization_step'?)"),
        ({"algorithm": {"name": "ftqc-dgd", "penalty": 1.0}}, "algorithm.penalty: unknown key"),
        ({"algorithm": {"name": "ftqc-dgd", "quantization_step": 0.0}}, "algorithm.quantization_step = 0.0: want"),
        (
            {"algorithm": {"name": "ftqc-dgd", "quantization_step": "fine"}},
            "algorithm.quantization_step = 'fine': want",
        ),
        (
            {"algorithm": {"name": "ftqc-dgd", "min_quantization_step": -1}},
            "algorithm.min_quantization_step = -1: want",
        ),
        (
            {"algorithm": {"name": "ftqc-dgd", "zoom": 1.5}},
            "algorithm.zoom = 1.5: want less than or equal to 1 or 'auto'",
        ),
        ({"algorithm": {"name": "ftqc-dgd", "zoom": 0}}, "algorithm.zoom = 0: want greater than 0 or 'auto'"),
        ({"algorithm": {"name": "ftqc-dgd", "zoom": "in"}}, "algorithm.zoom = 'in': want a valid number or 'auto'"),
        ({"algorithm": {"name": "ftqc-dgd", "local_steps": 0}}, "algorithm.local_steps = 0: want"),
        ({"algorithm": {"name": "ftqc-dgd", "batch_size": -1}}, "algorithm.batch_size = -1: want"),
        ({"algorithm": {"name": "ftqc-dgd", "batch_size": "some"}}, "algorithm.batch_size = 'some': want"),
        (
            {"algorithm": {"name": "ftqc-dgd", "coordinator": "ftcq"}},
            "algorithm.coordinator = 'ftcq': unknown (did you mean 'ftqc'?); known: allre",
        ),
        (
            {"algorithm": {"name": "ftqc-dgd", "rounding": "ceil"}},
            "algorithm.rounding = 'ceil': want 'floor' or 'nearest'",
        ),
        ({"algorithm": {"name": "ftqc-dgd", "execution": "parallel"}}, "algorithm.execution = 'parallel': want"),
        (
            {"algorithm": {"name": "ftqc-dgd", "coordination": "lockstep"}},
            "algorithm.coordination = 'lockstep': want 'auto', 'lock-step' or 'mailboxes'",
        ),
        (
            {"algorithm": {"name": "ftqc-dgd", "activation": "half"}},
            "algorithm.activation = 'half': want 'all' or 'bernoulli'",
        ),
        (
            {"algorithm": {"name": "ftqc-dgd", "activation_probability": 0}},
            "algorithm.activation_probability = 0: want",
        ),
        (
            {"algorithm": {"name": "ftqc-dgd", "activation_probability": 2}},
            "algorithm.activation_probability = 2: want",
        ),
        ({"algorithm": {"name": "ftqc-admm", "relaxation": 1.5}}, "algorithm.relaxation = 1.5: want"),
        ({"algorithm": {"name": "ftqc-admm", "penalty": 0}}, "algorithm.penalty = 0: want greater than 0 or 'auto'"),
        ({"algorithm": {"name": "ftqc-dgd"}, "regularizer": {"name": "l1"}}, "'ftqc-dgd': has no proximal step"),
        (
            {"algorithm": {"name": "ftqc-dgd"}, "compressor": {"name": "qsgd"}},
            "'ftqc-dgd' sends its vectors as they are",
        ),
        (
            {"algorithm": {"name": "ftqc-dgd"}, "topology": {"name": "ring", "nodes": 100}},
            "83 samples for topology.nodes = 100",
        ),
        (
            {"algorithm": {"name": "ftqc-dgd"}, "topology": {"name": "erdos-renyi", "nodes": 8, "probability": 0.01}},
            "topology erdos-renyi: the graph is not",
        ),
        (
            {"run": {"transport": "windows"}, "algorithm": {"name": "ftqc-dgd"}},
            "run.transport = 'windows': want 'auto',",
        ),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_wrong_value(command, changes, said, config, capsys, tmp_path, monkeypatch):
    """One line that names file, key, value and what is allowed; status 2; nothing written."""
    monkeypatch.chdir(tmp_path)
    path = config(**changes)
    message = refused(capsys, tmp_path, command, path)
    assert said in message
    assert f"{Path(path).name}: " in message  # long folders are shortened


def test_a_graph_that_is_not_strongly_connected_is_refused(config, capsys, tmp_path, monkeypatch):
    """From node 2 no way leads back."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one-way.edges").write_text("0 1\n1 0\n1 2\n")
    topology = {"name": "file", "path": "one-way.edges", "directed": True}
    message = refused(capsys, tmp_path, "run", config(algorithm={"name": "ftqc-dgd"}, topology=topology))
    assert "one-way.edges" in message or "topology" in message
    assert "connected" in message
