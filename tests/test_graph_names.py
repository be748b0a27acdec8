"""Names of nodes in graph files: their order, where they are shown, and which no file or terminal takes."""

import json
import re
from pathlib import Path

import h5py
import networkx
import pytest
import xarray
from tools.refusals import refused
from tools.topologies import topology

from mpiqopt.cli import main
from mpiqopt.errors import UsageError


def test_numbers_in_names_count_as_numbers(config, tmp_path, monkeypatch, capsys):
    """n2 is node 2; the names stand in the result, which xarray opens, in `topology`, `check` and messages."""
    monkeypatch.chdir(tmp_path)
    ring = networkx.relabel_nodes(networkx.cycle_graph(12), lambda i: f"n{i}")
    networkx.write_graphml(ring, "ring.graphml")
    path = Path(config(topology={"name": "file", "path": "ring.graphml"})).name
    assert main(["run", path, "-q"]) == 0
    with h5py.File("small.h5") as file:
        group = file["topology"]
        assert sorted(map(tuple, group["edges"][()].tolist())) == [(0, 1), (0, 11), *((i, i + 1) for i in range(1, 11))]
        assert group["names"].asstr()[()].tolist() == [f"n{i}" for i in range(12)]
        assert json.loads(group.attrs["read"]) == {"format": "graphml", "links": "undirected"}
    with xarray.open_dataset("small.h5", engine="h5netcdf", group="topology") as opened:
        assert opened.names.dims == ("node",)
        assert opened.names.values.tolist() == [f"n{i}" for i in range(12)]
    for command in ("topology", "check"):
        assert main([command, path]) == 0
        out = capsys.readouterr().out
        assert "0 = n0, 1 = n1, 2 = n2," in out
        assert re.search(r"file: format +graphml\n", out)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("LINES", raising=False)
    assert main(["topology", path]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60
    ring.remove_edges_from([("n2", "n3"), ("n9", "n10")])
    networkx.write_graphml(ring, "ring.graphml")
    assert "no path from node n0 to n3, n4, n5, ...)" in refused(capsys, tmp_path, "topology", path)


def test_names_that_are_the_numbers_are_not_listed(config, tmp_path, capsys):
    (tmp_path / "g.edges").write_text("0 1\n1 2\n")
    assert main(["topology", config(topology={"name": "file", "path": "g.edges"})]) == 0
    assert "names of nodes" not in capsys.readouterr().out


def test_drawings_have_the_names(tmp_path):
    from mpiqopt.analysis import graphs

    (tmp_path / "g.csv").write_text("$a$,b\nb,a very long name of a city\n")
    made = topology(f'[topology]\nname = "file"\npath = "{tmp_path}/g.csv"')
    (axes,) = graphs._figure(made).axes
    assert [text.get_text() for text in axes.texts] == ["$a$", "a very …a city", "b"]
    assert {text.get_parse_math() for text in axes.texts} == {False}
    (tmp_path / "g.csv").write_text("alone\n")
    graphs.draw_topology(topology(f'[topology]\nname = "file"\npath = "{tmp_path}/g.csv"'), str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").exists()


def test_many_names_are_not_all_listed(config, tmp_path, capsys):
    (tmp_path / "g.edges").write_text("".join(f"node{i} node{i + 1}\n" for i in range(99)))
    assert main(["topology", config(topology={"name": "file", "path": "g.edges"})]) == 0
    assert "63 = node63, ... (100 in all" in capsys.readouterr().out


def test_graphs_in_turn_have_the_same_names(tmp_path):
    for name, text in (("a", "x y\ny z\n"), ("b", "x y\nz x\n"), ("c", "x y\ny w\n")):
        (tmp_path / f"{name}.edges").write_text(text)
    both = '[[topology]]\nname = "file"\npath = "{}"\n[[topology]]\nname = "file"\npath = "{}"'
    made = topology(both.format(tmp_path / "a.edges", tmp_path / "b.edges"))
    assert made.names == ("x", "y", "z")
    assert made.read["format of graph 2"] == "edges, separated by blanks"
    with pytest.raises(UsageError, match="differ in names of nodes: node 0 is 'x' and 'w'"):
        topology(both.format(tmp_path / "a.edges", tmp_path / "c.edges"))


def test_names_that_no_file_or_terminal_takes(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nodes = [{"id": name} for name in ("\0", "\ud800", "1", 1, [0, 1])]
    links = [{"source": nodes[i]["id"], "target": nodes[i - 1]["id"]} for i in range(5)]
    Path("g.json").write_text(json.dumps({"nodes": nodes, "links": links}))
    assert main(["run", config(topology={"name": "file", "path": "g.json"}), "-q"]) == 0
    with h5py.File("small.h5") as file:
        assert set(file["topology/names"].asstr()) == {"'\\x00'", "'\\ud800'", "'1'", "1", "(0, 1)"}
