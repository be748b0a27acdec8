"""``mpiqopt profile``: counts of blocks, measurements of windows in processes of their own, interruptions."""

import json
import os
import signal
import subprocess
import time
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from tools.commands import TIMEOUT, command, environment

torch = pytest.importorskip("torch")

from mpiqopt.analysis.device_profile import DeviceProfiler  # noqa: E402
from mpiqopt.cli import main  # noqa: E402
from mpiqopt.config.parse import parse  # noqa: E402
from mpiqopt.federation.measured_profile import measure_windows  # noqa: E402
from mpiqopt.federation.profiles import counted_profile, read_profile  # noqa: E402
from mpiqopt.federation.step_meter import StepMeter  # noqa: E402
from mpiqopt.federation.windows import all_windows  # noqa: E402
from mpiqopt.neural.counts import count_blocks  # noqa: E402
from mpiqopt.neural.network import network_kind  # noqa: E402
from mpiqopt.neural.network_blocks import named_blocks, row_blocks  # noqa: E402
from mpiqopt.neural.partial import Frozen  # noqa: E402
from mpiqopt.problems.local_optimizers import LocalOptimizer  # noqa: E402
from mpiqopt.run.assembly import assemble  # noqa: E402
from mpiqopt.transport.serial import SerialTransport  # noqa: E402

pytestmark = pytest.mark.torch

SGD = LocalOptimizer("sgd", 1e-3)
BLOCKS = ["conv1", "dense1", "output"]
TABLES = {
    "data": {"name": "digits"},
    "problem": {"name": "torch", "model": "cnn", "options": {"channels": [4], "norm": "batch", "dense": [8]}},
    "topology": {"name": "ring", "nodes": 4},
    "algorithm": {"name": "fedavg", "step_size": 0.1, "batch_size": 8},
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(tomli_w.dumps(TABLES))
    return "small.toml"


@cache
def counts_of(model, shape, outputs=10, **options):
    net = network_kind(model, options, shape, outputs, "float32").make(seed=0)
    return net, count_blocks(net, row_blocks(net, named_blocks(net.model)), shape, tokens=model == "transformer")


@pytest.mark.parametrize(
    ("model", "shape", "millions", "saved"),
    [  # multiply-adds of a sample as convolutions and linear layers have them, numbers saved
        ("resnet18", (3, 32, 32), 555.42, 1_179_456),
        ("mobilenetv2", (3, 32, 32), 91.155, 3_419_392),
        ("cnn", (1, 28, 28), 11.992, 87_056),
    ],
)
def test_blocks_are_counted(model, shape, millions, saved):
    net, counts = counts_of(model, shape)
    assert sum(count.multiply_adds for count in counts) == pytest.approx(1e6 * millions, rel=1e-4)
    assert sum(count.saved for count in counts) == pytest.approx(saved, rel=1e-2)
    assert sum(count.parameters for count in counts) == net.weights
    assert sum(count.coordinates for count in counts) == len(net.row)


def test_a_linear_layer_is_counted_exactly():
    _, counts = counts_of("mlp", (20,), hidden=(30,), activation="relu")
    assert [count.multiply_adds for count in counts] == [20 * 30, 30 * 10]
    assert [count.parameters for count in counts] == [21 * 30, 31 * 10]
    assert [count.inputs for count in counts] == [20, 30]
    assert counts[0].saved == 20 + 30  # what the layer takes, what ReLU makes


def test_counting_changes_nothing_and_texts_can_be_counted():
    net, counts = counts_of("transformer", (16,), outputs=12, width=16)
    before = net.row.clone()
    assert [count.name for count in counts] == ["embedding", "layer1", "layer2", "output"]
    assert counts[1].multiply_adds == 12 * 16**2 * 16
    net, counts = counts_of("cnn", (1, 8, 8), norm="batch")
    again = count_blocks(net, row_blocks(net, named_blocks(net.model)), (1, 8, 8), tokens=False)
    assert again == counts
    assert before.numel() > 0
    assert not net.gradient.any()
    assert net.row[net.weights :].unique().tolist() == [0.0, 1.0]  # running statistics as they began


@pytest.mark.parametrize(
    ("model", "windows"),
    [  # measured for ``counted_costs``: first, middle and last window of a network; time, memory
        ("resnet18", {(0, 2): (0.46, 0.63), (3, 6): (0.50, 0.42), (7, 9): (0.30, 0.21)}),
        ("mobilenetv2", {(0, 6): (0.76, 0.73), (7, 12): (0.40, 0.27), (13, 19): (0.31, 0.18)}),
    ],
)
def test_counted_costs_are_near_the_measured_ones_that_they_were_fitted_to(model, windows):
    _, counts = counts_of(model, (3, 32, 32))
    costs = {tuple(cost.window): cost for cost in counted_profile(counts, 32).costs}
    for window, (seconds, memory) in windows.items():
        assert costs[window].time == pytest.approx(seconds, abs=0.06)
        assert costs[window].memory == pytest.approx(memory, abs=0.07)


def test_a_profile_is_measured_printed_and_drawn(config, capsys):
    assert main(["profile", config, "-o", "p.json", "--repeats", "1", "--plot", "p.svg"]) == 0
    profile, said = read_profile("p.json"), capsys.readouterr().out
    assert (profile.source, profile.network, profile.blocks, profile.batch) == ("measured", "cnn", BLOCKS, 8)
    assert [cost.window for cost in profile.costs] == all_windows(3)
    problem = assemble(parse(tomli_w.dumps(TABLES), config), SerialTransport()).problem
    counted = counted_profile(problem.block_counts(), 8)
    assert [cost.upload for cost in profile.costs] == [cost.upload for cost in counted.costs]
    assert profile.full.upload == counted.full.upload
    assert profile.full.seconds > 0
    assert profile.device["repeats"] == "1"
    assert "dense1 to output" in said
    assert "p.svg" in said
    assert "<svg" in Path("p.svg").read_text()
    assert not list(Path().glob("*.part"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["problem.name=softmax"], "problem.name = 'softmax' has no blocks; want a network"),
        (["algorithm.name=proxgt-sa", "algorithm.batch_size=auto"], "algorithm.batch_size = 'auto': want a number"),
        (["problem.blocks=['conv1', 'output']"], "problem.blocks: 'dense1.1.weight' is in no block"),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line_and_leaves_no_file(keys, said, config, capsys):
    words = [word for key in keys for word in ("--set", key)]
    assert main(["profile", config, "-o", "p.json", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{config}: {said}" in line
    assert not list(Path().glob("p.json*"))


def test_an_interrupted_measurement_goes_on_where_it_was(config, capsys, monkeypatch):
    measured, original = [], DeviceProfiler.measure

    def measure(self, window):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(window)
        return original(self, window)

    with monkeypatch.context() as patched:
        patched.setattr(DeviceProfiler, "measure", measure)
        assert main(["profile", config, "-o", "p.json", "--repeats", "1"]) == 130
    said = capsys.readouterr().err
    assert "2 of 6 windows are in" in said
    assert "p.json.part" in said
    assert not Path("p.json").exists()
    kept = json.loads(Path("p.json.part").read_text())["measured"]
    assert main(["profile", config, "-o", "p.json", "--repeats", "1"]) == 0
    assert "2 of 6 windows are measured" in capsys.readouterr().err
    assert len(kept) == 2
    assert len(read_profile("p.json").costs) == 6
    assert not Path("p.json.part").exists()


def test_measurements_of_other_settings_do_not_count(config, monkeypatch):
    Path("p.json.part").write_text('{"settings": {}, "measured": [[0, 2, 1.0, 1.0, 1.0]]}')
    assert main(["profile", config, "-o", "p.json", "--repeats", "1"]) == 0
    assert read_profile("p.json").full.memory != 1.0


def test_a_signal_ends_the_measurement_and_its_processes(config, tmp_path):
    words = command("profile", config, "-o", "p.json", "--repeats", "100000")
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # jobs in the background of a shell ignore it
    job = subprocess.Popen(words, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True, preexec_fn=heeds)
    part = tmp_path / "p.json.part"
    end = time.monotonic() + TIMEOUT
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children")
    try:
        while not (found := children.read_text().split() if job.poll() is None else []):
            assert job.poll() is None, job.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.1)
        (child,) = found
        job.send_signal(signal.SIGINT)
        assert job.wait(TIMEOUT) == 130
    finally:
        job.kill()
        job.communicate()
    assert not Path(f"/proc/{child}").exists()
    assert not (tmp_path / "p.json").exists()
    assert not part.exists() or json.loads(part.read_text())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "small.toml"], "is no profile"),
        (["-o", "missing/p.json"], "there is no such folder"),
        (["-o", "p.json", "--plot", "p.txt"], "want the name of a file that ends in"),
    ],
)
def test_wrong_words_are_said_before_anything_is_measured(config, words, said, capsys):
    before = Path(config).read_text()
    assert main(["profile", config, *words]) == 2
    assert said in capsys.readouterr().err
    assert Path(config).read_text() == before


def test_losses_without_blocks_have_no_windows(config, capsys):
    Path(config).write_text(tomli_w.dumps(TABLES | {"problem": {"name": "softmax"}}))
    assert main(["profile", config, "-o", "p.json"]) == 2
    assert "problem.name = 'softmax' has no blocks; want a network" in capsys.readouterr().err


def test_a_process_that_is_killed_is_said_to_lack_memory(config, capsys, monkeypatch):
    monkeypatch.setattr(DeviceProfiler, "_measure", lambda self, window: os.kill(os.getpid(), signal.SIGKILL))
    assert main(["profile", config, "-o", "p.json", "--repeats", "1"]) == 2
    assert "not enough memory: the process that measures a window was ended" in capsys.readouterr().err


def test_a_rank_measures_itself_from_few_windows():
    problem = assemble(parse(tomli_w.dumps(TABLES), "test"), SerialTransport()).problem
    start = problem.start(0).astype(np.float32)
    before = problem.evaluations.copy()
    profile = measure_windows(problem, start, SGD, 8, Frozen(), "cnn", repeats=1)
    assert [cost.window for cost in profile.costs] == all_windows(3)
    assert profile.costs[2][2:] == (1.0, 1.0, 1.0)
    assert all(cost.time > 0 and cost.memory > 0 for cost in profile.costs)
    assert (problem.evaluations == before).all()
    assert (start == problem.start(0).astype(np.float32)).all()


def test_running_out_of_memory_is_one_line():
    from mpiqopt.errors import out_of_memory_error_line

    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60)
    assert out_of_memory_error_line(raised.value).startswith(
        "not enough memory: you tried to allocate 4611686018427387904"
    )
    assert out_of_memory_error_line(RuntimeError("something else")) == ""


def test_scales_of_the_whole_network_are_observed():
    experiment = assemble(parse(tomli_w.dumps(TABLES), "test"), SerialTransport())
    meter = StepMeter(experiment.problem, experiment.start.ravel()[: experiment.problem.d], SGD, 8)
    scales = meter.observe(Frozen(), experiment.problem.blocks()[-1].scales.stop)
    assert len(scales)
    assert (scales > 0).all()


@pytest.mark.mpi
def test_of_several_ranks_one_measures(config, tmp_path):
    """And prints, and writes: the others wait."""
    words = command("profile", config, "-o", "p.json", "--repeats", "1", ranks=2)
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("written to p.json") == 1
    assert len(read_profile("p.json").costs) == 6
