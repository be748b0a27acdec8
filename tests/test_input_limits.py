"""Inputs at the limits of numbers, memory and files: one line of at most 200 characters, status 2, and no waiting."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.commands import TIMEOUT, environment
from tools.data_files import SYNTHETIC, hdf5, npz, write
from tools.refusals import refused

from mpiqopt.cli import main
from mpiqopt.errors import clip_for_error_line, error_line, quote_in_error
from mpiqopt.memory import memory
from mpiqopt.results import files
from mpiqopt.topologies.graph import Graph

SAMPLES = 40


def csv(path, features: np.ndarray, targets: np.ndarray | None = None) -> str:
    targets = np.arange(len(features)) % 2 if targets is None else targets
    np.savetxt(path, np.column_stack([features, targets]), delimiter=",")
    return path.name


def features(scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(0).standard_normal((SAMPLES, 3))


@pytest.mark.parametrize(
    ("values", "changes", "said"),
    [
        (np.zeros((SAMPLES, 3)), {}, "features are 0 in every sample (all of them): nothing can be fitted"),
        (np.zeros((SAMPLES, 3)), {"problem": {"name": "least-squares", "l2": 0.1}}, "features are 0 in every sample"),
        (np.full((SAMPLES, 3), 7.0), {"scale": "standard"}, "(each is constant, and data.scale = 'standard')"),
        (features(5e307), {}, "has a feature of "),
        (features(1e300), {"scale": "standard"}, "want at most 1e+150"),
        (features(1e300), {"scale": "unit-rows"}, "want at most 1e+150"),
        (features(1e30), {"run": {"dtype": "float32"}}, "its square is beyond float32"),
        (features(1e-170), {}, "algorithm.step_size = 'auto': L = 0, the smoothness of the loss, gives no step"),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_features_of_which_no_run_can_be_made(command, values, changes, said, config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"name": "csv", "path": csv(tmp_path / "d.csv", values)}
    tables = {key: value for key, value in changes.items() if key != "scale"}
    data |= {"scale": changes["scale"]} if "scale" in changes else {}
    config("a.toml", data=data, **{"problem": {"name": "logistic"}, **tables})
    assert said in refused(capsys, tmp_path, command, "a.toml")


def test_targets_whose_squares_overflow(config, capsys, tmp_path, monkeypatch):
    """They matter where they are squared: labels are only told apart."""
    monkeypatch.chdir(tmp_path)
    data = {"name": "csv", "path": csv(tmp_path / "d.csv", features(), 1e200 * (np.arange(SAMPLES) % 2))}
    config("a.toml", data=data, problem={"name": "least-squares"})
    assert "a target is 1e+200 in magnitude" in refused(capsys, tmp_path, "run", "a.toml")
    config("b.toml", data=data, problem={"name": "logistic", "l2": 0.1})
    assert main(["run", "b.toml", "-q"]) == 0


def test_scaling_leaves_constant_columns_and_a_mean_of_zeros_alone(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = features()
    values[:, 1], values[:, 2] = 7.0, 0.0
    data = {"name": "csv", "path": csv(tmp_path / "d.csv", values), "scale": "standard"}
    config("a.toml", data=data)
    data = {"name": "csv", "path": csv(tmp_path / "zeros.csv", np.zeros((SAMPLES, 3)))}
    config("b.toml", data=data, problem={"name": "mean"})
    config("c.toml", data=data | {"intercept": True})
    for name in "abc":
        assert main(["run", f"{name}.toml", "-q"]) == 0
        with h5py.File(f"{name}.h5") as file:
            assert np.isfinite(file["objective"][()]).all()
            assert np.isfinite(file["final/x"][()]).all()


@pytest.mark.parametrize("weight", ["nan", "inf", "-inf", "word", "1e400"])
@pytest.mark.parametrize("kind", ["edges", "json", "graphml"])
def test_weights_that_are_no_numbers(weight, kind, config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "word": '"word"'}.get(weight, weight)
    text = {
        "edges": f"a b 0.5\nb c {weight}\n",
        "json": '{"directed": false, "multigraph": false, "graph": [], "nodes": [{"id": "b"}, {"id": "c"}], '
        f'"adjacency": [[{{"id": "c", "weight": {value}}}], []]}}',
        "graphml": '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="w" for="edge" '
        'attr.name="weight" attr.type="string"/><graph edgedefault="undirected"><node id="b"/><node id="c"/>'
        f'<edge source="b" target="c"><data key="w">{weight}</data></edge></graph></graphml>',
    }[kind]
    name = write(tmp_path / f"g.{kind}", text)
    config("a.toml", topology={"name": "file", "path": name, "weights": "file"})
    said = refused(capsys, tmp_path, "check", "a.toml")
    assert "the weight of edge (b, c) is " in said
    assert "want a finite number" in said


def test_node_names_beyond_every_number(config, capsys, tmp_path):
    """2^63 and numbers of 400 digits are names like others."""
    name = write(tmp_path / "g.edges", f"0 {2**63}\n{2**63} {10**400}\n{10**400} 0\n")
    assert main(["topology", config(topology={"name": "file", "path": name})]) == 0
    assert "nodes" in capsys.readouterr().out
    large = f'{{"id": {10**400}}}'
    text = f'{{"graph": [], "nodes": [{{"id": 0}}, {large}], "adjacency": [[{large}], [{{"id": 0}}]]}}'
    name = write(tmp_path / "g.json", text)
    assert main(["topology", config(topology={"name": "file", "path": name})]) == 0


@pytest.fixture(params=["pipe", "device", "folder"])
def no_file(request, tmp_path) -> str:
    """Something that may be read for ever."""
    if request.param == "device":
        return "/dev/zero"
    path = tmp_path / "here"
    os.mkfifo(path) if request.param == "pipe" else path.mkdir()
    return str(path)


@pytest.mark.timeout(60)
def test_what_is_no_file_is_never_read(no_file, config, capsys, tmp_path, monkeypatch):
    """As config, data, graph, start or result: nobody waits for the other end of a pipe."""
    monkeypatch.chdir(tmp_path)
    graph = config("g.toml", topology={"name": "file", "path": no_file})
    start = config("s.toml", run={"iterations": 3, "start": no_file})
    data = [config(f"{kind}.toml", data={"name": kind, "path": no_file}) for kind in ("csv", "npz", "hdf5", "libsvm")]
    for path in (no_file, graph, start, *data):
        for command in ("run", "check"):
            assert ", not a file" in refused(capsys, tmp_path, command, path)
    assert ", not a file" in refused(capsys, tmp_path, "topology", graph)
    for words in (["show", no_file], ["plot", no_file, "-o", "a.png"], ["check", config(), "--plugin", no_file]):
        assert main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1
    for option in ("--resume", "--overwrite"):
        refused(capsys, tmp_path, "run", config(), "-o", no_file, option)


@pytest.mark.parametrize("name", ["ring", "torus", "complete", "random-regular", "geometric", "erdos-renyi"])
@pytest.mark.parametrize("nodes", [84, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, 10**400])
def test_more_nodes_than_samples_are_refused_before_the_graph_is_made(
    nodes, name, config, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(Graph, "cycle", lambda self: pytest.fail("made"))
    said = refused(
        capsys, tmp_path, "check", config(), "--set", f"topology.name={name}", "--set", f"topology.nodes={nodes}"
    )
    assert "83 samples for topology.nodes" in said if nodes < 2**63 else "want less than 2^63" in said


@pytest.mark.parametrize("kind", ["digits", "npz", "hdf5", "csv"])
def test_samples_are_counted_before_the_graph_is_made(kind, config, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(Graph, "cycle", lambda self: pytest.fail("made"))
    make = {"csv": csv, "npz": lambda p, x: npz(p, X=x, y=x[:, 0]), "hdf5": lambda p, x: hdf5(p, X=x, y=x[:, 0])}
    data = {"name": kind} | ({"path": make[kind](tmp_path / f"d.{kind}", features())} if kind in make else {})
    path = config(data=data, topology={"name": "ring", "nodes": 2000})
    samples = SAMPLES if kind in make else 1797
    assert f"{samples} samples for topology.nodes = 2000" in refused(capsys, tmp_path, "run", path)


def test_ranks_are_counted_before_the_graph_is_made(config, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(Graph, "cycle", lambda self: pytest.fail("made"))
    assert "--ranks 9: more than topology.nodes = 8" in refused(capsys, tmp_path, "check", config(), "--ranks", "9")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"topology.nodes": "1e12", "data.samples": "1e12"}, "the graph 'ring' of topology.nodes = 1000000000000"),
        ({"data.samples": "1e12"}, "data: features of 1000000000000 samples"),
        ({"data.features": "1e12"}, "data: features of 83 samples"),
        ({"data.features": "9223372036854775807"}, "data: features of 83 samples"),
        ({"data.classes": "1e12"}, "the parameter that is planted"),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_sizes_beyond_the_memory_are_refused_at_once(command, changes, said, config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    line = refused(capsys, tmp_path, command, config(), *words)
    assert "not enough memory: " in line
    assert said in line
    assert f"there are {memory() / 1e9:.3g} GB" in line


def test_a_start_of_an_absurd_size(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("s.npy", np.zeros((4, 7)))
    with open("s.npy", "r+b") as file:
        content = file.read().replace(b"(4, 7), }              ", b"(4000000000000000, 7), ")
        file.seek(0)
        file.write(content.replace(b"7), \n", b"7)}\n"))
    assert "run.start = 's.npy'" in refused(capsys, tmp_path, "run", config(run={"start": "s.npy"}))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"junk", b"\x93NUMPY\x01\x00v\x00" + b"{" * 118])
def test_a_start_that_is_no_array(content, config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "s.npy", content)
    assert "run.start = 's.npy'" in refused(capsys, tmp_path, "run", config(run={"start": "s.npy"}))


def test_a_start_without_nodes(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", config(), "-q", "-o", "s.h5"]) == 0
    file = files.copy_into_memory(Path("s.h5"))
    del file["final/x"]
    file["final/x"] = np.zeros((0, 7))
    files.publish_file(file, Path("s.h5"), "0" * 8)
    assert "it is empty" in refused(capsys, tmp_path, "run", config(run={"start": "s.h5"}))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_memory_that_runs_out_is_one_line_with_the_size(config, tmp_path):
    """Under a limit that the libraries fit into, and an array of the run does not."""
    path = config(data={**SYNTHETIC, "samples": 100_000, "features": 300, "split": "iid"})
    limit = 600 << 20
    run = subprocess.run(
        [sys.executable, "-m", "mpiqopt", "run", path, "-o", tmp_path / "a.h5"],
        env=environment() | {"OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert run.returncode == 2, run.stderr
    assert run.stderr.startswith("mpiqopt: not enough memory: Unable to allocate ")
    assert "(100000, 300)" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.mpi
def test_memory_that_runs_out_on_ranks_is_one_line(config, mpiqopt):
    result = mpiqopt("run", config(), "--set", "data.features=1e12", ranks=2)
    assert result.returncode == 2
    assert result.stderr.count("mpiqopt: ") == 1
    assert "not enough memory: data: features of 83 samples on 2 ranks take" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("depth", [30, 500, 100_000])
def test_values_in_values(depth, tmp_path, capsys):
    path = write(tmp_path / "a.toml", f"[run]\nseed = {'[' * depth}{']' * depth}\n")
    assert "a.toml: " in refused(capsys, tmp_path, "check", tmp_path / path)


@pytest.mark.parametrize(
    "number", ["9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "9" * 400, "1e400", "0b" + "1" * 64]
)
@pytest.mark.parametrize(
    "key", ["run.seed", "run.iterations", "run.time_limit", "algorithm.step_size", "topology.seed"]
)
def test_numbers_of_many_digits(key, number, config, tmp_path, capsys):
    """Those that are numbers to Python and too large for files, too."""
    table, name = key.split(".")
    lines = Path(config()).read_text().splitlines()
    lines = [line for line in lines if not line.startswith(name)]
    lines.insert(lines.index(f"[{table}]") + 1, f"{name} = {number}")
    write(tmp_path / "a.toml", "\n".join(lines))
    if number.startswith("0b") and key in ("run.time_limit", "algorithm.step_size", "topology.seed"):
        assert main(["check", str(tmp_path / "a.toml")]) == 0  # 2^64 seconds are many, but a number
    else:
        assert "a.toml: " in refused(capsys, tmp_path, "check", tmp_path / "a.toml")


@pytest.mark.parametrize("escape", ["\x1b[31m", "\x9b31m", "\x07", "\u202e", "\x00", "\x7f", "\r"])
def test_escape_codes_do_not_reach_the_terminal(escape, config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (
        ["check", config("a.toml", **{f"{escape}run": {}})],
        ["check", config("b.toml", run={f"{escape}seed": 1})],
        ["check", config("c.toml", run={"seed": f"{escape}1"})],
        ["check", config("d.toml", algorithm={"name": f"dgd{escape}"})],
        ["check", config("e.toml", data={"name": "csv", "path": f"{escape}.csv"})],
        ["check", config("f.toml", run={"start": f"{escape}.npy"})],
        ["check", config("g.toml", topology={"name": "file", "path": f"{escape}.json"})],
        ["check", config(), "--set", f"run.seed={escape}"],
        ["check", config(), "--set", f"{escape}"],
        ["list", f"{escape}"],
    ):
        assert refused(capsys, tmp_path, *words).removesuffix("\n").isprintable()


def test_lines_of_any_length_keep_their_start_and_end():
    path = "/a/long/path" * 30 + "/c.toml"
    for message in (
        f"{path}: run.iterations = {quote_in_error('9' * 500)}: want a valid integer",
        f"c.toml: run.iterations = {'9' * 500}: want a valid integer",
        f"{path}: run.iterations = 3.5: want a valid integer",
        "x" * 1000,
        "c.toml: " + ": ".join(map(str, range(1000))),
    ):
        line = error_line(message)
        assert len(line) <= 200
        assert line[:20] == f"mpiqopt: {message}"[:20]
        assert line.endswith(message[-15:])
    assert "c.toml" in error_line(f"{path}: run.iterations = 3.5: want a valid integer")
    assert clip_for_error_line("abcdefghij", 10) == "abcdefghij"


def test_a_file_beside_the_config_goes_by_its_name_where_a_line_is_long():
    folder = "/some/folder/of/a/user/with/a/long/name/and/more/folders"
    said = error_line(f"{folder}/c.toml: data.path = {folder}/d.csv: {'not readable ' * 5}")
    assert "c.toml: data.path = d.csv: not readable" in said


@pytest.mark.slow
@pytest.mark.parametrize("table", [{"emulate": {"delay": 1e308}}, {"emulate": {"gradient_seconds": 1e308}}])
def test_seconds_that_no_clock_has(table, config, tmp_path):
    """A run that would take for ever can be stopped; it does not fail."""
    result = subprocess.Popen(
        [sys.executable, "-m", "mpiqopt", "run", config(**table, run={"iterations": 3}), "-q"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        result.wait(4)
    result.kill()
    assert result.communicate(timeout=TIMEOUT)[1] == ""
