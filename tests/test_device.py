"""Networks on a device whose memory NumPy cannot use: rows are copied, with the same bits; ranks share GPUs.

There need be no GPU: copies are forced on the CPU, and PyTorch's fake tensors tell devices apart without having any.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from tools.commands import environment

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from mpiqopt.config.parse import parse  # noqa: E402
from mpiqopt.contracts.algorithm import state_after  # noqa: E402
from mpiqopt.errors import AgreedError, UsageError, out_of_memory_error_line  # noqa: E402
from mpiqopt.neural import device as devices  # noqa: E402
from mpiqopt.neural.client import NetworkClient  # noqa: E402
from mpiqopt.neural.device import Staging, choose_device, upload_positions  # noqa: E402
from mpiqopt.neural.evaluator import NetworkEvaluator  # noqa: E402
from mpiqopt.neural.model import make_model  # noqa: E402
from mpiqopt.neural.rows import RowModule  # noqa: E402
from mpiqopt.neural.samples import Samples  # noqa: E402
from mpiqopt.placement.shared_rows import shared_rows  # noqa: E402
from mpiqopt.problems.local_optimizers import LocalOptimizer  # noqa: E402
from mpiqopt.run.assembly import Experiment, assemble  # noqa: E402
from mpiqopt.transport.serial import SerialTransport  # noqa: E402

pytestmark = pytest.mark.torch

BATCHED = {"model": "cnn", "options": {"channels": [4, 8], "norm": "batch", "dense": []}}
FEDERATED = {"step_size": 0.1, "batch_size": 7}
METHODS = {
    "fedavg": FEDERATED,
    "fedprox": FEDERATED | {"clients_per_round": 2},
    "scaffold": FEDERATED,  # a correction of gradients goes to the device
    "diloco": FEDERATED | {"step_size": 0.01, "local_steps": 3},  # AdamW's moments go there and back
    "gradient-tracking": {"step_size": 0.1},
    "dgd": {"step_size": 0.1, "batch_size": 7},
}


def experiment(method: str, problem: dict, **run) -> Experiment:
    """Return the objects of a run of 4 nodes with the images of digits, 8 x 8 pixels."""
    tables = {
        "run": run,
        "data": {"name": "digits", "test_fraction": 0.25},
        "problem": {"name": "torch", **problem},
        "topology": {"name": "ring", "nodes": 4},
        "algorithm": {"name": method, **METHODS[method]},
    }
    return assemble(parse(tomli_w.dumps(tables), "test"), SerialTransport())


def outcome(made: Experiment) -> list[bytes]:
    """Return the bits of the state after 3 iterations, and of what is measured there."""
    state = state_after(made, 3)
    measured = made.problem.value_and_grad(state.x)
    arrays = [*state, *measured, made.problem.held_out.losses(state.x[0]), made.problem.held_out.hits(state.x[0])]
    return [np.ascontiguousarray(each).tobytes() for each in arrays if isinstance(each, np.ndarray)]


@pytest.fixture
def remote(monkeypatch):
    """Treat the CPU as a device with memory of its own, and return the list of the vectors' addresses of all copies."""
    copies: list[int] = []
    monkeypatch.setattr(devices, "is_remote", lambda device: True)
    for name in ("upload", "download"):
        copy = getattr(Staging, name)
        first = name == "download"

        def counted(staging, one, other, copy=copy, first=first):
            copies.append((one if first else other).data_ptr())
            copy(staging, one, other)

        monkeypatch.setattr(Staging, name, counted)
    return copies


@pytest.mark.parametrize("method", METHODS)
def test_copied_rows_give_the_same_bits(method, request):
    """With batch normalisation, whose running statistics are in the rows, too."""
    here = outcome(experiment(method, BATCHED))
    copies = request.getfixturevalue("remote")
    there = outcome(experiment(method, BATCHED))
    assert here == there
    assert len(here) > 3
    assert len(copies) > 10  # a row up and one down for each of 4 nodes and 3 iterations at the least


def test_a_buffer_is_made_once_and_copies_are_independent(remote):
    staging = Staging(torch.zeros(3))
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    one, other = map(staging.vector, rows)
    buffer = staging._buffer
    rows[:] = -1
    assert one.tolist() == [0, 1, 2]
    assert other.tolist() == [3, 4, 5]
    staging.download(other, rows[0])
    assert rows.tolist() == [[3, 4, 5], [-1, -1, -1]]
    assert staging._buffer is buffer
    assert buffer.data_ptr() not in (one.data_ptr(), other.data_ptr())


def test_on_a_cpu_a_vector_is_the_row():
    staging = Staging(torch.zeros(3, dtype=torch.float64))
    row = np.arange(3.0)
    staging.vector(row).mul_(2)
    assert row.tolist() == [0, 2, 4]
    shared = shared_rows(row, 2)[0]
    staging.vector(shared).mul_(2)  # a copy: nobody may write to it
    assert row.tolist() == [0, 2, 4]
    assert staging._buffer is None


def trainable() -> NetworkClient:
    """Return what trains a softmax regression of 2 features and 2 classes."""
    net = RowModule(make_model("softmax", (2,), 2, {}, seed=0), torch.float32, torch.device("cpu"))
    samples = Samples(torch.ones(4, 2), torch.tensor([0, 1, 1, 0]), "classes")
    return NetworkClient(NetworkEvaluator(lambda: net, samples, np.array([0, 2, 4])))


def test_the_start_of_a_round_is_moved_once_for_all_clients(remote):
    """However often the method takes a row of the shared ones, each time a new view."""
    client = trainable()
    start = shared_rows(np.arange(4, dtype=np.float32), hosted=3)
    moved = [client.load(start[i]) for i in range(3)]
    assert len(remote) == 1
    assert moved[0] is moved[1] is moved[2]
    assert client.load(shared_rows(np.zeros(4, np.float32), 3)[0]).tolist() == [0] * 4
    assert client.point.tolist() == [0] * 4
    assert len(remote) == 2


def test_a_start_that_is_written_to_is_moved_again(remote):
    client = trainable()
    start = np.zeros(4, np.float32)
    client.load(start)
    start[:] = 1
    assert client.load(start).tolist() == [1] * 4
    assert client.point.tolist() == [1] * 4


def test_ranks_take_gpus_in_turn(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device("auto", rank).index for rank in range(4)] == [0, 1, 0, 1]
    assert choose_device("cuda", 3) == torch.device("cuda", 1)
    assert choose_device("cpu", 1) == torch.device("cpu")


def test_a_gpu_that_is_asked_for_and_missing_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", 0) == torch.device("cpu")
    with pytest.raises(UsageError, match=r"run.device = 'cuda': PyTorch finds no GPU here; want 'auto' or 'cpu'"):
        choose_device("cuda", 0)
    with pytest.raises(AgreedError, match=r"test: run.device = 'cuda'"):
        experiment("fedavg", {}, device="cuda")


def test_a_gpu_without_memory_is_told_in_one_line():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert out_of_memory_error_line(error) == "not enough memory: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert out_of_memory_error_line(RuntimeError("other")) == ""


# ------------------------------------------------------------------------------------------- fake tensors

GPU = torch.device("cuda:0")


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_an_optimizer_stays_on_the_gpu(name):
    """PyTorch's fake tensors have a device and no numbers, and refuse operations on two devices."""
    with FakeTensorMode():
        point, gradient = torch.ones(4, device=GPU), torch.ones(4, device=GPU)
        rule = LocalOptimizer(name, 0.1, momentum=0.9, decay=0.1)
        kept = rule.begin(point)
        rule.move(point, gradient, kept, 0)
        assert {each.device for each in (point, gradient, *kept)} == {GPU}
        assert len(kept) == rule.slots > 0
        with pytest.raises(RuntimeError, match="same device"):  # they do refuse
            rule.move(point, torch.ones(4), kept, 1)


def test_positions_come_to_the_device_as_they_are():
    positions = upload_positions(np.array([2, 0, 1]), torch.device("cpu"))
    assert positions.tolist() == [2, 0, 1]
    assert positions.dtype == torch.int64


def test_settings_for_equal_bits_are_made_before_the_gpu_is_used():
    """cuBLAS reads its variable when it starts; TensorFloat-32 would round numbers to 10 bits."""
    experiment("fedavg", {})
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark


def test_the_benchmark_ends_well_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    script = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
    done = subprocess.run([sys.executable, script], env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "no GPU: nothing to measure\n", "")
