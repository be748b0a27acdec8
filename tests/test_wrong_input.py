"""Every wrong input: exit status 2, one line that names what is wrong, and nothing written."""

from pathlib import Path

import numpy as np
import pytest
from tools.data_files import SYNTHETIC, hdf5, npz, write
from tools.refusals import refused

from mpiqopt.cli import main


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"algorithm": {"name": "gradient-tracking", "stepsize": 1}},
            "algorithm.stepsize: unknown key (did you mean 'step_size'?)",
        ),
        ({"algorithm": {"name": "gradient-traking"}}, "(did you mean 'gradient-tracking'?)"),
        ({"algorithm": {}}, "algorithm.name: missing; allowed: centralized, centralized-prox-gradient, choco-gossip,"),
        ({"algorithm": {"name": 3}}, "algorithm.name = 3: want one of"),
        ({"algorithm": {"name": "proxgt-sa"}}, "algorithm.batch_size = 'auto': is made of run.tolerance"),
        (
            {"algorithm": {"name": "dgd", "step_size": -1}},
            "algorithm.step_size = -1: want greater than 0 or 'auto'",
        ),
        ({"algorithm": {"name": "dgd", "step_size": "big"}}, "algorithm.step_size = 'big': want"),
        ({"algorithm": {"name": "proxgt-sr-e", "chebyshev": 1}}, "algorithm.chebyshev = 1: want a valid boolean"),
        ({"algorithm": {"name": "proxgt-sr-e", "gossip_rounds": 1.5}}, "algorithm.gossip_rounds = 1.5: want"),
        ({"run": {"iterations": -1}}, "run.iterations = -1: want greater than or equal to 0"),
        ({"run": {"iterations": "10"}}, "run.iterations = '10': want a valid integer"),
        ({"run": {"dtype": "float16"}}, "run.dtype = 'float16': want 'auto', 'float64' or 'float32'"),
        ({"run": {"start": "nowhere.h5"}}, "run.start = 'nowhere.h5'"),
        ({"runs": {}}, "runs: unknown table (did you mean 'run'?)"),
        ({"run": 3}, "run = 3: want a table [run]"),
        ({"topology": {"name": "ring", "nodes": 0}}, "topology.nodes = 0"),
        ({"topology": {"name": "hypercube", "nodes": 6}}, "topology.nodes = 6: a hypercube has"),
        ({"topology": {"name": "grid", "nodes": 8, "rows": 3}}, "topology.rows = 3: does not divide"),
        ({"topology": {"name": "random-regular", "nodes": 5, "degree": 3}}, "topology.degree = 3"),
        ({"topology": {"name": "erdos-renyi", "nodes": 8, "probability": 0.01}}, "the graph is not connected"),
        ({"topology": {"name": "random-digraph", "probability": 1.5}}, "topology.probability = 1.5: want less than or"),
        (
            {"topology": {"name": "directed-ring", "weights": "uniform"}},
            "topology.weights: unknown key; keys of topology",
        ),
        ({"topology": {"name": "random-digraph"}}, "columns of W sum to 1 but not its rows"),
        ({"topology": {"name": "ring", "nodes": 100}}, "83 samples for topology.nodes = 100"),
        ({"topology": [{"name": "ring", "nodes": 8}, {"name": "star", "nodes": 9}]}, "differ in nodes: [8, 9]"),
        ({"data": {**SYNTHETIC, "classes": 3}}, "wants two labels, got 3: 0, 1, 2"),
        ({"compressor": {"name": "qsgd"}}, "algorithm 'gradient-tracking' sends its vectors as they are"),
        ({"compressor": {"name": "qsdg"}}, "(did you mean 'qsgd'?)"),
        ({"algorithm": {"name": "lead"}, "compressor": {"name": "qsgd", "levels": 0}}, "compressor.levels = 0: want"),
        ({"algorithm": {"name": "lead"}, "compressor": {"name": "sign"}}, "'sign': gives a direction only"),
        ({"algorithm": {"name": "lead"}, "compressor": {"name": "uniform"}}, "compressor.step: missing"),
        (
            {"algorithm": {"name": "lead"}, "compressor": {"name": "uniform", "step": 0.1, "bits": 1}},
            "compressor.bits = 1: want at least 2 for compressor.kind = 'mid-tread'",
        ),
        ({"algorithm": {"name": "fo-sgd"}, "compressor": {"name": "qsgd"}}, "'fo-sgd' is SGD with 'flattened-one-bit'"),
        ({"algorithm": {"name": "qsgd-sgd"}, "compressor": {"name": "top-k"}}, "'top-k': biased; algorithm 'qsgd-sgd'"),
        (
            {
                "algorithm": {"name": "proxgt-sr-e"},
                "compressor": {"name": "qsgd"},
                "topology": {"name": "one-peer-exponential", "nodes": 8},
            },
            "coded gossip needs one mixing matrix, but topology 'one-peer-exponential' varies in time",
        ),
        ({"algorithm": {"name": "sign-sgd"}}, "algorithm.step_size: missing; 'sign-sgd' moves every coordinate by it"),
        ({"algorithm": {"name": "sign-sgd"}, "compressor": {"name": "qsgd"}}, "algorithm 'sign-sgd' sends 'sign'"),
        ({"data": {"name": "diabetes"}}, "wants two labels"),
        ({"data": {"name": "csv", "path": "none.csv"}}, "none.csv: no such file"),
        ({"data": {**SYNTHETIC, "test_fraction": 0.001}}, "holds out 0 of 83 samples"),
        ({"regularizer": {"name": "l1"}}, "has no proximal step"),
        ({"regularizer": {"name": "box", "lower": 1.0, "upper": 0.0}}, "regularizer.lower = 1.0: want at most"),
        ({"algorithm": {"name": "extra"}, "topology": {"name": "one-peer-exponential"}}, "varies in time"),
        (
            {"algorithm": {"name": "proxgt-sr-e", "chebyshev": True}, "topology": {"name": "one-peer-exponential"}},
            "set chebyshev = false",
        ),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_wrong_value(command, changes, said, config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path(config(**changes)).name
    message = refused(capsys, tmp_path, command, path)
    assert said in message
    assert path in message


@pytest.mark.parametrize(
    ("kind", "make", "said"),
    [
        ("csv", lambda p: write(p, ""), "the file is empty"),
        ("csv", lambda p: write(p, "a,b\n"), "no data below the header"),
        ("csv", lambda p: write(p, "a,b\n1,2\n3,x\n"), "line 3, column 2 ('b'): 'x' is no number"),
        ("csv", lambda p: write(p, "1,2,0\n3,inf,1\n" * 10), "sample 1 has a feature that is NaN or infinite"),
        ("csv", lambda p: write(p, "1,2,0\n3,4,inf\n" * 10), "the target of sample 1 is inf"),
        ("libsvm", lambda p: write(p, "1 1:a\n"), "line 1: '1:a' is no index:value"),
        ("libsvm", lambda p: write(p, "1 1:1\n0 2:nan\n" * 10), "NaN or infinite"),
        ("npz", lambda p: write(p, b"not a zip file"), "not readable as npz"),
        ("npz", lambda p: npz(p, indices=[50_000_000]), "not readable as npz"),
        ("npz", lambda p: npz(p, X=np.array([["a"], ["b"]]), y=[0, 1]), "real numbers, got type <U1"),
        ("npz", lambda p: npz(p, X=np.ones((2, 1), complex), y=[0, 1]), "real numbers, got type complex128"),
        ("hdf5", lambda p: hdf5(p, X=np.array([[b"a"], [b"b"]]), y=[0, 1]), "real numbers, got type |S1"),
        ("hdf5", lambda p: write(p, b"not hdf5"), "not readable as hdf5"),
        (
            "hdf5",
            lambda p: hdf5(p, features=np.ones((9, 2)), y=np.ones(9)),
            "has no array 'X'; it has: features, y",
        ),
        ("hdf5", lambda p: hdf5(p, X=np.ones((9, 2)), y=np.ones(8)), "want X (samples, d) and y (samples,)"),
    ],
)
def test_wrong_data_file(kind, make, said, config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = make(tmp_path / f"data.{kind}")
    path = config(data={"name": kind, "path": name}, topology={"name": "ring", "nodes": 2})
    message = refused(capsys, tmp_path, "run", Path(path).name)
    assert said in message
    assert name in message


def test_wrong_output(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = config()
    (tmp_path / "small.h5").write_text("precious")
    assert "small.h5: the file exists; say --overwrite, --resume" in refused(capsys, tmp_path, "run", path)
    assert (tmp_path / "small.h5").read_text() == "precious"
    assert "not a readable result file" in refused(capsys, tmp_path, "run", path, "--resume")
    assert "not a readable result file" in refused(capsys, tmp_path, "run", path, "--overwrite")
    assert "not a readable result file" in refused(capsys, tmp_path, "run", path, "--overwrite", "-o", path)
    for folder in (tmp_path, ".", "..", "/"):
        assert "is a folder" in refused(capsys, tmp_path, "run", path, "-o", folder, "--overwrite")
    assert "name too long" in refused(capsys, tmp_path, "run", path, "-o", "x" * 300)
    assert "cannot write there" in refused(capsys, tmp_path, "run", path, "-o", tmp_path / "small.h5" / "b.h5")
    assert "cannot write there" in refused(capsys, tmp_path, "run", path, "-o", "/proc/a.h5")


def test_wrong_command_lines(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = config()
    for arguments, said in [
        (["rn", path], "no command 'rn' (did you mean 'run'?)"),
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "absent.toml"], "absent.toml: No such file"),
        (["run", path, "--outputt", "x"], "No such option"),
        (["run", path, "--set", "iterations=3"], "--set iterations=3: want TABLE.KEY=VALUE"),
        (["run", path, "--set", "run.iteration=3"], "did you mean 'iterations'?"),
        (["run", path, "--time-limit", "-1"], "--time-limit"),
        (["run", path, "--resume", "--overwrite"], "exclude each other"),
        (["run", path, "--plugin", "absent.py"], "absent.py: no such Python file"),
        (["list", "algorithms"], "unknown family 'algorithms' (did you mean 'algorithm'?)"),
        (["show", "absent.h5"], "absent.h5: no such file"),
        (["show", path], "not a readable result file"),
        (["plot", "absent.h5", "-o", "x.png"], "absent.h5: no such file"),
        (["check", path, "--ranks", "9"], "--ranks 9: more than topology.nodes = 8"),
    ]:
        assert said in refused(capsys, tmp_path, *arguments)


def test_not_toml(capsys, tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("[run\n")
    assert f"{path}: not valid TOML" in refused(capsys, tmp_path, "check", path)
    path.write_bytes(b"\xff\xfe")
    assert "not a text file" in refused(capsys, tmp_path, "check", path)


def test_a_plugin_that_cannot_be_run(config, capsys, tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text("1/0")
    assert "broken.py: ZeroDivisionError" in refused(capsys, tmp_path, "check", config(), "--plugin", plugin)


TAKEN = """
from dataclasses import dataclass
from mpiqopt.registry import register
from mpiqopt.topologies.graph import Graph

@register("topology", "{name}")
@dataclass(frozen=True, kw_only=True)
class Mine(Graph):
    def edges(self):
        return [(0, 1)]
"""


@pytest.mark.parametrize("name", ["ring", "file"])
def test_a_plugin_cannot_take_the_name_of_a_part(name, config, mpiqopt, tmp_path):
    (tmp_path / "mine.py").write_text(TAKEN.format(name=name))
    result = mpiqopt("check", config(topology={"name": name, "nodes": 8}), "--plugin", "mine.py")
    assert result.returncode == 2
    assert f"topology '{name}' is there already" in result.stderr


def test_fields_of_a_plugin_may_be_pydantics(config, mpiqopt, tmp_path):
    text = TAKEN.format(name="mine").replace("def edges", "far: Annotated[int, Field(ge=2)] = 2\n\n    def edges")
    imports = "from typing import Annotated\nfrom pydantic import Field\n"
    (tmp_path / "mine.py").write_text(imports + text)
    result = mpiqopt("check", config(topology={"name": "mine", "nodes": 8, "far": 1}), "--plugin", "mine.py")
    assert result.returncode == 2
    assert "topology.far = 1: want greater than or equal to 2" in " ".join(result.stderr.split())


def test_show_of_another_hdf5_file(capsys, tmp_path):
    hdf5(tmp_path / "other.h5", x=np.ones(3))
    assert "not a result file of mpiqopt" in refused(capsys, tmp_path, "show", tmp_path / "other.h5")


def test_a_figure_that_cannot_be_written(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", config(), "-q"]) == 0
    assert "-o a.nothing" in refused(capsys, tmp_path, "plot", "small.h5", "-o", "a.nothing")
    assert "cannot write there" in refused(capsys, tmp_path, "plot", "small.h5", "-o", "none/a.png")


def test_openml_without_network(config, capsys, tmp_path, monkeypatch):
    """One line; the network is cut in the test."""
    import socket

    def cut(*arguments, **keywords):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", cut)
    monkeypatch.setattr(socket, "create_connection", cut)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    status = main(["check", config(data={"name": "openml", "dataset": "no-such-data-set"})])
    err = capsys.readouterr().err
    assert status == 2
    assert err.count("\n") == 1
    assert "data.dataset = 'no-such-data-set': cannot get openml:no-such-data-set" in err


def test_names_on_the_command_line_drop_only_keys_of_the_part_before(config, mpiqopt):
    """Typos stay errors, and the order of --set does not matter."""
    lead = {"algorithm": {"name": "lead"}}
    typo = config(**lead, compressor={"name": "qsgd", "levles": 7})
    assert "compressor.levles: unknown key" in mpiqopt("check", typo, "--set", "compressor.name=qsgd").stderr
    other = config(**lead, compressor={"name": "qsgd", "levels": 7})
    assert mpiqopt("check", other, "--set", "compressor.name=eden").returncode == 0
    for order in (["levels=3", "name=low-rank"], ["name=low-rank", "levels=3"]):
        words = [word for key in order for word in ("--set", f"compressor.{key}")]
        assert "compressor.levels: unknown key" in mpiqopt("check", config(**lead), *words).stderr
    assert "compressor.name = ['a']: want one of" in mpiqopt("check", other, "--set", 'compressor.name=["a"]').stderr


def test_keys_of_the_default_compressor_need_no_name(config, mpiqopt):
    result = mpiqopt("check", config(algorithm={"name": "qsgd-sgd"}), "--set", "compressor.levels=7")
    assert result.returncode == 0, result.stderr
    assert "levels = 7" in result.stdout


def test_ef_sgd_refuses_mere_signs(config, mpiqopt):
    result = mpiqopt("check", config(algorithm={"name": "ef-sgd"}, compressor={"name": "sign"}))
    assert result.returncode == 2
    assert "'sign': gives a direction only; try scaled-sign" in result.stderr


@pytest.mark.parametrize("text", ["[{}]\nx = 1\n", "{} = 1\n"])
def test_names_of_very_many_parts(text, capsys, tmp_path):
    """They are refused at once: Python's reader would take minutes."""
    path = tmp_path / "long.toml"
    path.write_text(text.format(".".join(["a"] * 100_000)))
    assert main(["check", str(path)]) == 2
    assert "not valid TOML: a name of more than 100 parts (at line 1)" in capsys.readouterr().err
