"""Synchronous runs give the same bits whatever processor, BLAS, libm or number of threads there is.

One machine stands for others: OpenBLAS, NumPy and glibc choose their code by the processor, and can be told to see less
of it. All runs of an environment are in one process.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
import tomli_w
from conftest import TIMEOUT, environment

from mpiqopt.registry import members
from mpiqopt.topologies.graph import Digraph

CONFIGS = Path(__file__).parent.parent / "configs"
# measured in seconds
TIMES = {"time", "codec_time", "nodes/training", "nodes/waiting"}

SETTINGS = {
    "proxgt-sa": {"batch_size": 3},
    "proxgt-sr-o": {"batch_size": 2, "large_batch_size": 5, "epoch_length": 4},
    "sign-sgd": {"step_size": 0.01, "schedule": "inverse-sqrt"},
    "ef-sgd": {"two_way": True, "batch_size": 4, "schedule": "inverse"},
    "ftqc-dgd": {"zoom": 0.93, "activation": "bernoulli", "rounding": "nearest"},
}
# what takes any compressor and what takes one only
CODED = {"sign": "sign-sgd", "flattened-one-bit": "fo-sgd"}
PARAMETERS = {"uniform": {"step": 0.01}}
LABELS = {"task": "classification", "samples": 157, "features": 23}
SOURCES = {
    "synthetic": {"noise": 0.5, "density": 0.7, "features": 57, "samples": 1300},
    "digits": {},
    "breast-cancer": {},
    "iris": {},
    "wine": {},
    "diabetes": {},
    "npz": {"path": "dense.npz"},
    "libsvm": {"path": "rows.svm"},
    "hdf5": {"path": "rows.h5"},
    "csv": {"path": "rows.csv"},
}
SCALES = ("none", "standard", "unit-rows")
SPLITS = ("contiguous", "iid", "by-label", "dirichlet")


def dispatched() -> str:
    """What NumPy can be told not to use here; releases name it differently."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return ",".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))


ENVIRONMENTS = {
    "BLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "BLAS for Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "NumPy without SIMD": {"NPY_DISABLE_CPU_FEATURES": dispatched()},
    "libm without FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX2_Usable,-FMA_Usable"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "kernels v2": {"MPIQOPT_KERNELS": "v2"},
    "kernels v3": {"MPIQOPT_KERNELS": "v3"},
    "kernels v4": {"MPIQOPT_KERNELS": "v4"},
}
# flags of the processor without which kernels of a level cannot run
NEEDED = {"v2": {"sse4_2"}, "v3": {"avx2", "fma", "bmi2"}, "v4": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}


def require_level(variables: dict[str, str]) -> None:
    """Skip where the processor lacks the level of kernels that is asked for."""
    level = variables.get("MPIQOPT_KERNELS")
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    if level is not None and not NEEDED[level] <= flags:
        pytest.skip(f"this processor has no x86-64-{level}: it lacks {', '.join(sorted(NEEDED[level] - flags))}")


def write_data(folder: Path) -> None:
    """The same numbers in each format, and sparse ones."""
    from scipy.sparse import random_array, save_npz
    from sklearn.datasets import dump_svmlight_file

    stream = np.random.default_rng(5)
    x, y = stream.standard_normal((131, 19)) * stream.random(19), np.arange(131) % 2
    np.savez(folder / "dense.npz", X=x, y=y)
    np.savetxt(folder / "rows.csv", np.column_stack([x, y]), delimiter=",")
    with h5py.File(folder / "rows.h5", "w") as file:
        file["X"], file["y"] = x, y
    sparse = random_array((131, 90), density=0.1, rng=5, format="csr")
    dump_svmlight_file(sparse, y, str(folder / "rows.svm"), zero_based=False)
    save_npz(folder / "sparse.npz", sparse)
    with np.load(folder / "sparse.npz") as parts:
        np.savez(folder / "sparse.npz", y=y, **{name: parts[name] for name in ("data", "indices", "indptr", "shape")})


def example(**tables) -> dict:
    """A small run, with what differs."""
    return {
        "run": {"seed": 3, "iterations": 9, "start": "normal"} | tables.pop("run", {}),
        "record": {"every": 3},
        "data": {"name": "synthetic", "split": "iid", **LABELS},
        "problem": {"name": "logistic", "l2": 0.1},
        "topology": {"name": "ring", "nodes": 9},
        "algorithm": {"name": "nids"},
    } | tables


def from_repository(path: Path) -> dict:
    """A config of the repository, short and without emulation and asynchronous execution."""
    tables = tomllib.loads(path.read_text())
    tables["run"]["iterations"] = 12
    tables["record"] = {"every": 3}
    tables.pop("emulate", None)
    tables["algorithm"].pop("execution", None)
    return tables


def cases() -> dict[str, dict]:
    """Runs by name: every algorithm, compressor, source of data, scaling, split, regulariser, graph and coordinator."""
    found = {path.stem: from_repository(path) for path in sorted(CONFIGS.glob("*.toml"))}
    for name, dtype in ((name, dtype) for name in members("algorithm") for dtype in ("float64", "float32")):
        regularizer = {"name": "l1" if members("algorithm")[name].proximal else "zero"}
        algorithm = {"name": name, **SETTINGS.get(name, {})}
        found[f"{name} {dtype}"] = example(algorithm=algorithm, regularizer=regularizer, run={"dtype": dtype})
    for name in members("compressor"):
        algorithm = {"name": CODED.get(name, "ef-sgd")}
        algorithm |= SETTINGS.get(algorithm["name"], {})
        found[f"{name} coded"] = example(algorithm=algorithm, compressor={"name": name, **PARAMETERS.get(name, {})})
    for name in ("natural", "eden", "zoom-in", "low-rank", "qsgd"):
        found[f"{name} prox-lead"] = example(algorithm={"name": "prox-lead"}, compressor={"name": name})
    found["flattened-one-bit qsgd-sgd"] = example(
        algorithm={"name": "qsgd-sgd"}, compressor={"name": "flattened-one-bit", "clip": 2.3}
    )
    for name in ("ftqc", "integer-push-sum", "tree", "allreduce"):
        found[name] = example(algorithm={"name": "ftqc-admm", "coordinator": name, "activation": "bernoulli"})
    for name in SOURCES:
        for scale in SCALES:
            data = {"name": name, "scale": scale, **SOURCES[name]}
            found[f"{name} {scale}"] = example(data=data, problem={"name": "least-squares"})
    for split in SPLITS:
        data = {"name": "digits", "split": split, "intercept": True, "test_fraction": 0.3, "scale": "standard"}
        problem = {"name": "softmax", "nonconvex": 0.01}
        found[f"split {split}"] = example(data=data, problem=problem, record={"every": 3, "per_node": True})
    for scale in SCALES:
        data = {"name": "npz", "path": "sparse.npz", "scale": scale, "test_fraction": 0.3}
        found[f"sparse {scale}"] = example(data=data)
    found["three classes"] = example(data={"name": "synthetic", **LABELS, "classes": 3}, problem={"name": "softmax"})
    found["mean"] = example(problem={"name": "mean"}, algorithm={"name": "choco-gossip"}, compressor={"name": "eden"})
    long = {"name": "synthetic", "features": 700, "samples": 4800, "scale": "unit-rows"}
    found["long rows"] = example(data=long, problem={"name": "least-squares"}, topology={"name": "ring", "nodes": 8})
    for name in members("regularizer"):
        found[f"regularizer {name}"] = example(regularizer={"name": name})
    for name, cls in members("topology").items():
        if name != "file":
            graph = {"name": name, "nodes": 32 if name == "hypercube" else 36}
            for algorithm in ("push-sum",) if issubclass(cls, Digraph) else ("dgd", "proxgt-sr-e", "ftqc-dgd"):
                found[f"{name} {algorithm}"] = example(topology=graph, algorithm={"name": algorithm})
    return found


def bits(path: Path) -> dict[str, bytes]:
    """Every dataset of a result file but times, and the numbers that were derived."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and name not in TIMES:
            found[name] = item[()].tobytes()

    with h5py.File(path) as file:
        file.visititems(visit)
        return found | {"derived": str(file.attrs["derived"]).encode()}


def results(folder: Path, configs: list[str], **variables: str) -> dict[str, dict[str, bytes]]:
    """The bits of each run in an environment."""
    folder.mkdir()
    script = [sys.executable, str(Path(__file__).with_name("run_many.py")), str(folder), *configs]
    subprocess.run(script, env={**environment(), **variables}, check=True, timeout=TIMEOUT)
    return {path.stem: bits(path) for path in sorted(folder.glob("*.h5"))}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[list[str], dict[str, dict[str, bytes]]]:
    """The configs, and their results as this machine would have them."""
    folder = tmp_path_factory.mktemp("configs")
    write_data(folder)
    configs = []
    for name, tables in cases().items():
        path = folder / f"{name.replace(' ', '-')}.toml"
        path.write_text(tomli_w.dumps(tables))
        configs.append(str(path))
    return configs, results(folder / "plain", configs)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_runs_give_the_same_bits(plain, tmp_path, name):
    """Objective, stationarity, accuracy, iterates, weights, counters and derived steps of every kind of run."""
    require_level(ENVIRONMENTS[name])
    configs, expected = plain
    assert len(expected) == len(configs)
    found = results(tmp_path / "results", configs, **ENVIRONMENTS[name])
    differ = [f"{run}: {key}" for run in expected for key in expected[run] if found[run][key] != expected[run][key]]
    assert not differ
