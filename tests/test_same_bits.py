"""Synchronous runs give the same bits whatever processor, BLAS, libm or number of threads there is.

One machine stands for others: OpenBLAS, NumPy and glibc choose their code by the processor, and can be told to see less
of it. All runs of an environment are in one process.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
import tomli_w
from tools.commands import TIMEOUT, with_tools
from tools.methods import GENERAL
from tools.processors import ENVIRONMENTS

from mpiqopt._processor import LEVELS, lacking
from mpiqopt.registry import family_members
from mpiqopt.topologies.graph import Digraph

# the first test waits for several processes of a few seconds each, and machines may be crowded
pytestmark = pytest.mark.timeout(5 * TIMEOUT)

CONFIGS = Path(__file__).parent.parent / "configs"

SETTINGS = {
    "proxgt-sa": {"batch_size": 3},
    "proxgt-sr-o": {"batch_size": 2, "large_batch_size": 5, "epoch_length": 4},
    "sign-sgd": {"step_size": 0.01, "schedule": "inverse-sqrt"},
    "ef-sgd": {"two_way": True, "batch_size": 4, "schedule": "inverse"},
    "ftqc-dgd": {"zoom": 0.93, "activation": "bernoulli", "code": "points", "rounding": "nearest"},
    "coordinated-prox-gradient": {"coordinator": "tree", "accelerated": True},
}
# by compressor; prox-lead takes the others
CODED = {"sign": "sign-sgd", "flattened-one-bit": "fo-sgd", "one-bit": "qsgd-sgd", "top-k": "ef-sgd"}
PARAMETERS = {"uniform": {"step": 0.01}}
LABELS = {"task": "classification", "samples": 157, "features": 23}
# openml and libsvm, read by scikit-learn, are as sparse or as dense as these
SOURCES = {
    "synthetic": {"noise": 0.5, "density": 0.7, "features": 57, "samples": 1300},
    "digits": {},
    "breast-cancer": {},
    "iris": {},
    "wine": {},
    "diabetes": {},
    "npz": {"path": "dense.npz"},
    "hdf5": {"path": "rows.h5"},
    "csv": {"path": "rows.csv"},
    "parquet": {"path": "rows.parquet"},
}
HELD_OUT = {"test_fraction": 0.3}
BOUNDS = {"box": {"lower": 0.0, "upper": 0.1}}
SCALES = ("none", "standard", "unit-rows")
SPLITS = ("contiguous", "iid", "by-label", "dirichlet", "inner-dirichlet", "resource-dirichlet", "pathological")
DEVICES = {"resource-dirichlet": {"devices": [{"share": 2.0}, {"time": 0.5}]}}
SIZES = {"inner-dirichlet": {"sizes": "linear", "label_noise": 0.1}}


QUICK = ("kernels v2", "kernels v3")


def unfit(variables: dict[str, str]) -> str:
    """Why the level of kernels asked for cannot run here, or nothing."""
    level = variables.get("MPIQOPT_KERNELS")
    if level is None:
        return ""
    if level not in LEVELS:
        return f"there are no kernels of level {level}"
    return f"this processor lacks {', '.join(lacking(level))}" if lacking(level) else ""


def write_data(folder: Path) -> None:
    """The same numbers in each format, and sparse ones."""
    from scipy.sparse import random_array, save_npz

    stream = np.random.default_rng(5)
    x, y = stream.standard_normal((131, 19)) * stream.random(19), np.arange(131) % 2
    np.savez(folder / "dense.npz", X=x, y=y)
    table = np.column_stack([x, y])
    np.savetxt(folder / "rows.csv", table, delimiter=",")
    pandas.DataFrame(table).rename(columns=str).to_parquet(folder / "rows.parquet")
    with h5py.File(folder / "rows.h5", "w") as file:
        file["X"], file["y"] = x, y
    sparse = random_array((131, 90), density=0.1, rng=5, format="csr")
    save_npz(folder / "sparse.npz", sparse)
    with np.load(folder / "sparse.npz") as parts:
        np.savez(folder / "sparse.npz", y=y, **{name: parts[name] for name in ("data", "indices", "indptr", "shape")})


def example(**tables) -> dict:
    """A small run, with what differs."""
    return {
        "run": {"seed": 3, "start": "normal"} | tables.pop("run", {}),
        "data": {"name": "synthetic", "split": "iid", **LABELS},
        "problem": {"name": "logistic", "l2": 0.1},
        "topology": {"name": "ring", "nodes": 9},
        "algorithm": {"name": "nids"},
    } | tables


def from_repository(path: Path) -> dict:
    """A config of the repository, without asynchronous execution, and without waiting for emulated nodes and links."""
    tables = tomllib.loads(path.read_text())
    if tables["algorithm"].get("deadline") is None:
        tables.pop("emulate", None)
    else:
        tables["emulate"]["sleep"] = False
    tables["algorithm"].pop("execution", None)
    return tables


def methods() -> dict[str, dict]:
    """Every algorithm, compressor and coordinator."""
    found = {}
    for name, cls in GENERAL.items():
        algorithm = {"name": name, **SETTINGS.get(name, {})}
        regularizer = {"name": "l1" if cls.proximal else "zero"}
        for dtype in ("float64", "float32"):
            found[f"{name} {dtype}"] = example(algorithm=algorithm, regularizer=regularizer, run={"dtype": dtype})
    for name in family_members("compressor"):
        coding = CODED.get(name, "prox-lead")
        algorithm = {"name": coding, **SETTINGS.get(coding, {})}
        found[f"coded {name}"] = example(algorithm=algorithm, compressor={"name": name, **PARAMETERS.get(name, {})})
    for name in ("ftqc", "integer-push-sum", "tree", "collect", "allreduce"):
        found[name] = example(algorithm={"name": "ftqc-admm", "coordinator": name, "activation": "bernoulli"})
    return found


def problems() -> dict[str, dict]:
    """Every source of data with every scaling, every split, problem, regulariser and graph."""
    squares, softmax = {"name": "least-squares"}, {"name": "softmax", "nonconvex": 0.01}
    found = {}
    for name, scale in product(SOURCES, SCALES):
        found[f"{name} {scale}"] = example(data={"name": name, "scale": scale, **SOURCES[name]}, problem=squares)
    for scale in SCALES:
        found[f"sparse {scale}"] = example(data={"name": "npz", "path": "sparse.npz", "scale": scale, **HELD_OUT})
    for split in SPLITS:
        data = {
            "name": "digits",
            "split": split,
            "intercept": True,
            "scale": "standard",
            **HELD_OUT,
            **SIZES.get(split, {}),
        }
        record = {"per_node": split == "dirichlet"}
        found[f"split {split}"] = example(data=data, problem=softmax, record=record, **DEVICES.get(split, {}))
    found["three classes"] = example(data={"name": "synthetic", **LABELS, "classes": 3}, problem=softmax)
    found["mean"] = example(problem={"name": "mean"}, algorithm={"name": "choco-gossip"}, compressor={"name": "eden"})
    found["long rows"] = example(data={"name": "synthetic", "features": 700, "samples": 900}, problem=squares)
    for name in family_members("regularizer"):
        found[f"regularizer {name}"] = example(regularizer={"name": name, **BOUNDS.get(name, {})})
    for name, cls in family_members("topology").items():
        graph = {"name": name, "nodes": 32 if name == "hypercube" else 36}
        own = ("dgd", "noloco" if name == "random-pairs" else "proxgt-sr-e")  # of which no step is known for pairs
        for algorithm in ("push-sum",) if issubclass(cls, Digraph) else own:
            if name != "file":
                found[f"{name} {algorithm}"] = example(topology=graph, algorithm={"name": algorithm})
    digraph = {"name": "random-digraph", "nodes": 36}
    found["random-digraph push-diging"] = example(topology=digraph, algorithm={"name": "push-diging"})
    return found


def cases() -> dict[str, dict]:
    """Configs by name, but for those of networks, whose bits are those of one kind of processor."""
    own = {path.stem: from_repository(path) for path in sorted(CONFIGS.glob("*.toml"))}
    plain = {name: tables for name, tables in own.items() if tables["problem"]["name"] != "torch"}
    return plain | methods() | problems()


def digests(configs: list[str], variables: dict[str, str]) -> dict[str, dict[str, str]]:
    """What each run comes to in an environment, by what it is."""
    script = [sys.executable, "-m", "tools.bits", *configs]
    run = subprocess.run(script, env=with_tools() | variables, capture_output=True, text=True, timeout=4 * TIMEOUT)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def configs(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("configs")
    write_data(folder)
    paths = {folder / f"{name.replace(' ', '-')}.toml": tables for name, tables in cases().items()}
    for path, tables in paths.items():
        path.write_text(tomli_w.dumps(tables))
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def found(configs) -> Iterator[dict[str, Future]]:
    """What the runs come to in each environment, several of which are at work."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        own = {name: variables for name, variables in ENVIRONMENTS.items() if not unfit(variables)}
        yield {name: pool.submit(digests, configs, variables) for name, variables in {"plain": {}, **own}.items()}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ENVIRONMENTS]
)
def test_runs_give_the_same_bits(configs, found, name):
    """Data, states, metrics, counters and derived numbers of every kind of run."""
    if unfit(ENVIRONMENTS[name]):
        pytest.skip(unfit(ENVIRONMENTS[name]))
    expected, own = found["plain"].result(), found[name].result()
    assert len(expected) == len(configs) + 1
    differ = [f"{run}: {key}" for run in expected for key in expected[run] if own[run][key] != expected[run][key]]
    assert not differ


def test_a_run_goes_on_elsewhere(mpiqopt, config, tmp_path):
    """A checkpoint of one processor, BLAS and libm ends with the same bits on another."""
    path = config(run={"iterations": 400}, algorithm={"name": "proxgt-sr-e", "chebyshev": True})
    elsewhere = ENVIRONMENTS["BLAS for Nehalem"] | ENVIRONMENTS["NumPy without SIMD"] | ENVIRONMENTS["libm without FMA"]
    assert mpiqopt("run", path, "-o", "whole.h5").returncode == 0
    assert mpiqopt("run", path, "-o", "parts.h5", "--time-limit", "1e-9").returncode == 75
    assert mpiqopt("run", path, "-o", "parts.h5", "--resume", **elsewhere).returncode == 0
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "parts.h5") as parts:
        assert whole.attrs["derived"] == parts.attrs["derived"]
        for name in ("objective", "stationarity", "consensus", "final/x"):
            np.testing.assert_array_equal(parts[name][()], whole[name][()])
