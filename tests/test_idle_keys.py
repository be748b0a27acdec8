"""A key that was given and changes nothing is named, once, and is not there for the numbers."""

import re

import h5py
import numpy as np
import pytest

from mpiqopt.cli import main

SYNTHETIC = {"name": "synthetic", "samples": 64, "features": 5}
# What makes every key of a config matter, and a table with one that does not; the key, and why.
IDLE = {
    "alpha": ({"data": {**SYNTHETIC, "alpha": 0.01}}, "data.alpha (split is 'contiguous')"),
    "alpha of pathological labels": (
        {"data": {"name": "iris", "split": "pathological", "alpha": 0.01}, "problem": {"name": "softmax"}},
        "data.alpha (split is 'pathological')",
    ),
    "sizes": (
        {"data": {**SYNTHETIC, "task": "classification", "split": "dirichlet", "sizes": "linear"}},
        "data.sizes (split is 'dirichlet')",
    ),
    "classes_per_node": (
        {"data": {**SYNTHETIC, "classes_per_node": 1}},
        "data.classes_per_node (split is 'contiguous')",
    ),
    "seed of data that are not drawn": (
        {"data": {"name": "diabetes", "scale": "standard", "split": "by-label", "seed": 3}},
        "data.seed (nothing of the data is drawn)",
    ),
    "classes": ({"data": {**SYNTHETIC, "classes": 3}}, "data.classes (task is 'regression')"),
    "noise": (
        {"data": {**SYNTHETIC, "task": "classification", "noise": 3.0}},
        "data.noise (task is 'classification')",
    ),
    "seed of a ring": ({"topology": {"name": "ring", "seed": 3}}, "topology.seed (this graph is not random)"),
    "weights of halves": (
        {"topology": {"name": "one-peer-exponential", "weights": "uniform"}},
        "topology.weights (its weights are fixed)",
    ),
    "decay": ({"algorithm": {"name": "choco-sgd", "decay": 0.5}}, "algorithm.decay (schedule is 'constant')"),
    "gossip_step": (
        {"algorithm": {"name": "proxgt-sr-e", "gossip_step": 0.5}},
        "algorithm.gossip_step (messages are not coded)",
    ),
    "batches that no iteration takes": (
        {"algorithm": {"name": "proxgt-sr-e", "step_size": 0.01, "epoch_length": 1, "batch_size": 2}},
        "algorithm.batch_size (every iteration restarts the estimator)",
    ),
    "activation_probability": (
        {"algorithm": {"name": "ftqc-dgd", "activation_probability": 0.1}},
        "algorithm.activation_probability (activation is 'all')",
    ),
    "min_quantization_step": (
        {"algorithm": {"name": "ftqc-dgd", "zoom": 1, "min_quantization_step": 1e-5}},
        "algorithm.min_quantization_step (zoom is 1.0)",
    ),
    "rounding": (
        {"algorithm": {"name": "ftqc-dgd", "rounding": "nearest"}},
        "algorithm.rounding (code is 'innovations')",
    ),
    "strong_convexity": (
        {"algorithm": {"name": "coordinated-prox-gradient", "strong_convexity": 0.1}},
        "algorithm.strong_convexity (accelerated is False)",
    ),
    "batch_size of a gradient": (
        {"algorithm": {"name": "coordinated-prox-gradient", "batch_size": 3}},
        "algorithm.batch_size (estimator is 'gradient')",
    ),
    "large_batch_size": (
        {"algorithm": {"name": "coordinated-prox-gradient", "estimator": "sr-e", "large_batch_size": 3}},
        "algorithm.large_batch_size (estimator is 'sr-e')",
    ),
    "coordination": (
        {"algorithm": {"name": "ftqc-dgd", "coordinator": "allreduce", "coordination": "mailboxes"}},
        "algorithm.coordination (coordinator is 'allreduce')",
    ),
    "interval": (
        {"algorithm": {"name": "push-sum", "interval": 3.0}},
        "algorithm.interval (execution is 'synchronous')",
    ),
    "block_size": (
        {"algorithm": {"name": "lead"}, "compressor": {"name": "identity", "block_size": 3}},
        "compressor.block_size (values are sent as they are)",
    ),
    "clip": (
        {"algorithm": {"name": "fo-sgd"}, "compressor": {"name": "flattened-one-bit", "dither": 0.5, "clip": 3.0}},
        "compressor.clip (dither is 0.5)",
    ),
    "l1_ratio": (
        {"algorithm": {"name": "pg-extra"}, "regularizer": {"name": "elastic-net", "weight": 0, "l1_ratio": 0.1}},
        "regularizer.l1_ratio (weight is 0.0)",
    ),
    "group_size": (
        {"algorithm": {"name": "pg-extra"}, "regularizer": {"name": "group-l1", "weight": 0, "group_size": 3}},
        "regularizer.group_size (weight is 0.0)",
    ),
    "transport": ({"run": {"iterations": 9, "transport": "window"}}, "run.transport (no mailboxes are used)"),
    "tolerance_on": ({"run": {"iterations": 9, "tolerance_on": "mean"}}, "run.tolerance_on (tolerance is not given)"),
    "tolerance_on of a common point": (
        {"run": {"iterations": 9, "tolerance": 1e-9, "tolerance_on": "mean"}, "algorithm": {"name": "sgd"}},
        "run.tolerance_on (nodes share one point)",
    ),
    "delay_distribution": ({"emulate": {"delay_distribution": "pareto"}}, "emulate.delay_distribution (delay is 0.0)"),
    "links": ({"emulate": {"links": [[0, 1]]}}, "emulate.links (no delay, loss or bandwidth)"),
    "region_bandwidth": (
        {"emulate": {"region_bandwidth": 1e6}},
        "emulate.region_bandwidth (the method has no regions)",
    ),
    "sleep": (
        {"emulate": {"sleep": False, "delay": 1e-6}},
        "emulate.sleep (only federated rounds can do without waiting)",
    ),
}
TABLES = {
    "run": {"iterations": 9},
    "data": SYNTHETIC,
    "problem": {"name": "least-squares", "l2": 0.1},
    "topology": {"name": "ring", "nodes": 4},
    "algorithm": {"name": "gradient-tracking"},
}
# what depends on the clock
OTHER = re.compile(r"time|codec_time|nodes/(waiting|training)")


def numbers(path) -> dict[str, bytes]:
    """Every array of a result file as bytes, but for clocks."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        return {name: as_bytes(item[()]) for name, item in found.items() if not OTHER.fullmatch(name)}


def as_bytes(values) -> bytes:
    """An array or number as bytes; texts as they are, not where they are."""
    values = np.asarray(values)
    return repr(values.tolist()).encode() if values.dtype.hasobject else values.tobytes()


@pytest.mark.parametrize("case", IDLE)
def test_a_key_that_changes_nothing_is_named_once(case, config, capsys, tmp_path, monkeypatch):
    """By check and by run, and the numbers are those without it."""
    monkeypatch.chdir(tmp_path)
    changes, said = IDLE[case]
    table, key = said.partition(" ")[0].split(".")
    without = {name: {k: v for k, v in t.items() if (name, k) != (table, key)} for name, t in changes.items()}
    config("given.toml", **TABLES | changes)
    config("without.toml", **TABLES | without)
    for words in (["check", "given.toml"], ["run", "given.toml", "--overwrite"]):
        assert main(words) == 0
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == f"mpiqopt: given.toml: these keys change nothing: {said}"
        assert sum(key in line for line in lines) == 1
    assert main(["run", "without.toml"]) == 0
    assert "change nothing" not in capsys.readouterr().err
    assert numbers("given.h5") == numbers("without.h5")


MATTERS = {
    "alpha": {"data": {**SYNTHETIC, "split": "dirichlet", "alpha": 0.01, "task": "classification", "classes": 3}},
    "alpha of inner proportions": {
        "data": {**SYNTHETIC, "split": "inner-dirichlet", "alpha": 0.01, "task": "classification", "sizes": "linear"}
    },
    "classes_per_node": {
        "data": {**SYNTHETIC, "split": "pathological", "classes_per_node": 1, "task": "classification", "seed": 3}
    },
    "seed of held-out samples": {"data": {"name": "diabetes", "scale": "standard", "test_fraction": 0.1, "seed": 3}},
    "seed of a random graph": {"topology": {"name": "erdos-renyi", "nodes": 4, "probability": 0.9, "seed": 3}},
    "decay": {"algorithm": {"name": "choco-sgd", "schedule": "inverse", "decay": 0.5}},
    "gossip_step of coded messages": {
        "algorithm": {"name": "proxgt-sr-e", "gossip_step": 0.5},
        "compressor": {"name": "qsgd", "block_size": 2},
    },
    "gossip_step of coded gossip": {"algorithm": {"name": "lead", "gossip_step": 0.5}},
    "transport": {
        "run": {"iterations": 3, "transport": "two-sided"},
        "algorithm": {"name": "ftqc-dgd", "coordination": "mailboxes", "min_quantization_step": 1e-5},
    },
    "links": {"emulate": {"links": [[0, 1]], "delay": 1e-4, "delay_distribution": "exponential"}},
    "tolerance_on": {"run": {"iterations": 9, "tolerance": 1e-3, "tolerance_on": "mean"}},
}


@pytest.mark.parametrize("case", MATTERS)
def test_a_key_that_matters_is_not_named(case, config, capsys):
    assert main(["check", config(**TABLES | MATTERS[case])]) == 0
    assert capsys.readouterr().err == ""


def test_many_idle_keys_are_one_line_with_their_number(config, capsys):
    graphs = [{"name": "ring", "seed": 3}, {"name": "one-peer-exponential", "seed": 3, "weights": "uniform"}]
    tables = {
        "run": {"iterations": 3, "tolerance_on": "mean", "transport": "window"},
        "data": {**SYNTHETIC, "classes": 3, "alpha": 1.0},
        "algorithm": {"name": "proxgt-sr-e", "decay": 0.1, "gossip_step": 0.4},
        "emulate": {"links": [[0, 1]], "delay_distribution": "pareto"},
        "topology": graphs,
    }
    assert main(["check", config(**TABLES | tables)]) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert len(err) <= 201
    assert "run.tolerance_on" in err
    assert "(10 in all)" in err


def test_keys_that_the_command_line_makes_idle_are_named(config, capsys):
    path = config(**TABLES | {"data": {**SYNTHETIC, "split": "dirichlet", "alpha": 0.1}})
    assert main(["check", path, "--set", "data.split=iid", "--set", "topology.seed=3"]) == 0
    err = capsys.readouterr().err
    assert "data.alpha (split is 'iid')" in err
    assert "topology.seed" in err


@pytest.mark.mpi
def test_ranks_name_idle_keys_once(config, mpiqopt):
    result = mpiqopt("run", config(**TABLES | IDLE["alpha"][0]), ranks=2)
    assert result.returncode == 0
    assert result.stderr.count("data.alpha") == 1
