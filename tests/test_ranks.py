"""Trajectories are the same bits on any number of ranks, with MPI and without, and bytes are counted rightly."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.methods import GENERAL
from tools.run_many import run_on

from mpiqopt.algorithms.local_steps import WithLocalSteps
from mpiqopt.placement.placement import Placement
from mpiqopt.placement.reduction import Reduction, RunningSum
from mpiqopt.results.layout import REPRODUCIBLE

SAMPLED = {
    "proxgt-sa": {"batch_size": 3, "gossip_rounds": 2},
    "proxgt-sr-o": {"batch_size": 2, "large_batch_size": 5, "epoch_length": 4, "gossip_rounds": 2},
    "proxgt-sr-e": {"gossip_rounds": 3},
    "sign-sgd": {"step_size": 0.01},
    "ef-sgd": {"two_way": True, "batch_size": 4},
}
# By method: blocks of which the last is short (7 values), so that ranks share the server's work.
CODED = {
    "qsgd-sgd": {"name": "terngrad", "block_size": 2},
    "fo-sgd": {"name": "flattened-one-bit", "block_size": 2},
    "ef-sgd": {"name": "top-k", "fraction": 0.4, "block_size": 3},
    "choco-sgd": {"name": "low-rank"},
    "choco-gossip": {"name": "random-k", "fraction": 0.5},
    "lead": {"name": "natural"},
    "prox-lead": {"name": "eden", "bits": 3},
    "proxgt-sa": {"name": "qsgd", "block_size": 4},
    "proxgt-sr-e": {"name": "zoom-in"},
}


def configs(write) -> list[str]:
    """Every algorithm, and what differs in kind: graphs that vary, float32, sparse and long rows, uneven splits."""
    from scipy.sparse import csr_array

    paths = []
    for name, cls in GENERAL.items():
        regularizer = {"name": "l1", "weight": 0.01} if cls.proximal else {"name": "zero"}
        tables = {"algorithm": {"name": name, **SAMPLED.get(name, {})}, "regularizer": regularizer}
        paths.append(write(f"{name}.toml", **tables, run={"iterations": 25}))
        if issubclass(cls, WithLocalSteps):
            alone = {**tables, "algorithm": {"name": name, "local_steps": 3, "batch_size": 2}}
            pairs = {"name": "random-pairs", "nodes": 9} if name == "noloco" else {"name": "ring", "nodes": 8}
            paths.append(write(f"{name}-local.toml", **alone, topology=pairs, run={"iterations": 25}))
        if name in CODED:
            paths.append(write(f"{name}-coded.toml", **tables, compressor=CODED[name], run={"iterations": 25}))
    few = {"iterations": 25, "start": "normal"}
    varying = {"name": "one-peer-exponential", "nodes": 11}
    paths.append(write("varying.toml", run=few, topology=varying))
    digraph = {"algorithm": {"name": "push-diging"}, "topology": {"name": "random-digraph", "nodes": 9}}
    paths.append(write("digraph.toml", **digraph, run=few))
    paths.append(write("float32.toml", run={**few, "dtype": "float32"}, topology={"name": "star", "nodes": 9}))
    digits = {"name": "digits", "split": "dirichlet", "scale": "standard", "test_fraction": 0.1}
    softmax = {"name": "softmax", "nonconvex": 0.01}
    nodes = {"name": "random-regular", "nodes": 9, "degree": 4}
    paths.append(write("softmax.toml", run=few, data=digits, problem=softmax, topology=nodes))
    rng = np.random.default_rng(0)
    rows = csr_array(rng.standard_normal((40, 30)) * (rng.random((40, 30)) < 0.2))
    parts = {"data": rows.data, "indices": rows.indices, "indptr": rows.indptr, "shape": rows.shape}
    data = {"name": "npz", "path": "sparse.npz", "split": "iid", "scale": "standard"}
    paths.append(write("sparse.toml", run=few, data=data))
    np.savez(Path(paths[-1]).with_name("sparse.npz"), **parts, y=np.arange(40) % 2)
    # longer than NumPy's buffer of 8192, one row on a rank
    data = {"name": "synthetic", "samples": 8, "features": 9000, "scale": "unit-rows"}
    paths.append(write("long.toml", run={"iterations": 5}, data=data, problem={"name": "least-squares"}))
    return paths


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, list[str]]:
    """Results of all configs in one process without MPI, and the configs."""
    import tomli_w

    folder = tmp_path_factory.mktemp("alone")

    def write(name: str, **changes: dict) -> str:
        tables = {
            "data": {"name": "synthetic", "task": "classification", "samples": 83, "features": 7},
            "problem": {"name": "logistic", "l2": 0.1},
            "topology": {"name": "ring", "nodes": 8},
            "algorithm": {"name": "gradient-tracking"},
            "record": {"every": 10, "per_node": name == "varying.toml"},
        }
        (folder / name).write_text(tomli_w.dumps({**tables, **changes}))
        return str(folder / name)

    paths = configs(write)
    run_on(0, folder / "results", paths)
    return folder / "results", paths


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [4, *(pytest.param(ranks, marks=pytest.mark.slow) for ranks in (1, 2, 3, 8))])
def test_any_number_of_ranks_gives_the_same_bits(ranks, alone, tmp_path):
    folder, paths = alone
    run_on(ranks, tmp_path / "results", paths)
    for path in paths:
        name = f"{Path(path).stem}.h5"
        with h5py.File(folder / name) as one, h5py.File(tmp_path / "results" / name) as many:
            assert many.attrs["ranks"] == ranks
            for quantity in [*(q for q in REPRODUCIBLE if q in one), "final/x"]:
                assert np.array_equal(one[quantity], many[quantity]), f"{name}: {quantity}"
            if name != "hierarchical-fedavg.h5":  # whose ranks get the means of all regions
                one_node_per_rank = ranks == one["topology"].attrs["nodes"]
                assert np.array_equal(many["mpi_bytes"], many["bytes"]) or not one_node_per_rank
                assert np.all(many["mpi_bytes"][()] <= many["bytes"][()])
            assert (many["mpi_bytes"][-1] > 0) == (ranks > 1)


@pytest.mark.mpi
def test_each_row_goes_once_to_each_rank(mpiqopt, config):
    """A star's hub needs every leaf, but three leaves on one rank need the hub's row once."""
    path = config(topology={"name": "star", "nodes": 8}, algorithm={"name": "dgd"}, run={"iterations": 1})
    assert mpiqopt("run", path, "-o", "a.h5", "-q", ranks=2).returncode == 0
    with h5py.File(Path(path).with_name("a.h5")) as file:
        row = 7 * 8  # bytes of a row of 7 features
        assert file["bytes"][-1] == 2 * 7 * row
        assert file["mpi_bytes"][-1] == (4 + 1) * row


@pytest.mark.mpi
def test_more_ranks_than_nodes_is_refused(mpiqopt, config):
    result = mpiqopt("run", config(topology={"name": "ring", "nodes": 2}), ranks=3)
    assert result.returncode == 2
    assert "3 ranks for topology.nodes = 2" in result.stderr
    assert result.stderr.count("mpiqopt:") == 1


FAULTY = """
from dataclasses import dataclass
from mpiqopt.algorithms.dgd import DGD
from mpiqopt.errors import UsageError
from mpiqopt.registry import register

@register("algorithm", "faulty")
@dataclass(frozen=True, kw_only=True)
class Faulty(DGD):
    def step(self, state, problem, network, rng):
        if network.traffic.rounds == 20 and network.place.rank == 1:
            raise ERROR("broken on purpose")
        return super().step(state, problem, network, rng)
"""


@pytest.mark.mpi
@pytest.mark.parametrize("error", ["RuntimeError", "UsageError"])
def test_one_failing_rank_ends_the_job(error, mpiqopt, config, tmp_path):
    """In the middle of a run, while the others wait for its rows; also by an error that is usually agreed on by all."""
    (tmp_path / "faulty.py").write_text(FAULTY.replace("ERROR", error))
    path = config(algorithm={"name": "faulty"}, run={"iterations": 10**9})
    result = mpiqopt("run", path, "--plugin", "faulty.py", "-o", "a.h5", ranks=3)
    assert result.returncode not in (0, 2, 75)
    assert f"rank 1: {error}: broken on purpose" in result.stderr
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["iteration"][0] == 0


@pytest.mark.mpi
def test_an_error_on_one_rank_in_the_input_is_one_line_on_all(mpiqopt, config, tmp_path):
    """The folder of the output is checked by rank 0 alone; all ranks end with status 2."""
    (tmp_path / "file").write_text("")
    result = mpiqopt("run", config(), "-o", "file/a.h5", ranks=3)
    assert result.returncode == 2
    assert result.stderr.count("mpiqopt:") == 1
    assert "file/a.h5: cannot write there" in result.stderr


@pytest.mark.mpi
def test_doctor_measures_one_sided_progress(mpiqopt):
    result = mpiqopt("doctor", ranks=2)
    assert result.returncode == 0
    for word in ("thread level", "kernels", "one-sided put", "one-sided accumulate", "advice"):
        assert result.stdout.count(word) == 1


def test_reductions_do_not_depend_on_the_placement():
    """The tree sum over node ids from any contiguous blocks, n from 1 to 40 and 1 to 9 ranks."""
    rng = np.random.default_rng(0)
    for nodes in [*range(1, 41), 1000]:
        rows = rng.standard_normal((nodes, 3)) * 10.0 ** rng.integers(-8, 8, (nodes, 1))
        totals = []
        for ranks in range(1, min(nodes, 9) + 1):
            places = [Placement(nodes, ranks, rank) for rank in range(ranks)]
            shares = [(Reduction(place.bounds, place.rank), rows[place.first : place.last]) for place in places]
            parts = [reduction.partial_sums(hosted) for reduction, hosted in shares]
            reduction = Reduction(places[0].bounds)
            assert [len(part) for part in parts] == reduction.counts
            totals.append(reduction.finish(np.concatenate(parts)))
        assert all(np.array_equal(total, totals[0]) for total in totals)
        scale = np.abs(rows).sum(axis=0)
        assert np.all(np.abs(totals[0] - rows.sum(axis=0)) <= 1e-14 * scale)


@pytest.mark.parametrize("order", ["ascending", "random"])
def test_running_sums_are_the_partial_sums_of_a_reduction(order):
    """To the bit, block by block, with few vectors stored if rows come in ascending order."""
    rng = np.random.default_rng(1)
    for nodes in [*range(1, 41), 1000]:
        rows = rng.standard_normal((nodes, 3)) * 10.0 ** rng.integers(-8, 8, (nodes, 1))
        ranks = int(rng.integers(1, 6))
        bounds = np.sort(np.concatenate([[0, nodes], rng.integers(0, nodes + 1, ranks - 1)]))
        for rank in range(ranks):
            running, leaves = RunningSum(nodes), np.arange(bounds[rank], bounds[rank + 1])
            stored = 0
            for leaf in leaves if order == "ascending" else rng.permutation(leaves):
                running.add(int(leaf), rows[leaf], 1.0)
                stored = max(stored, len(running.blocks))
            reduction = Reduction(bounds, rank)
            wanted = reduction.partial_sums(rows[leaves])
            assert sorted(running.blocks) == sorted(reduction.blocks[rank])
            for block, total in zip(reduction.blocks[rank], wanted, strict=True):
                np.testing.assert_array_equal(running.blocks[block], total)
            # a range that begins and ends within blocks leaves one at each end for every level
            assert order == "random" or stored <= 2 * nodes.bit_length()
