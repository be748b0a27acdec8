"""Graphs from files of all formats: what is read, what is refused, and what is said of it."""

import bz2
import gzip
import io
import json
import lzma
import random
import re
import time
from contextlib import suppress
from pathlib import Path

import networkx
import numpy as np
import pandas
import pytest
from tools import odd
from tools.refusals import refused
from tools.topologies import RING, links, pairs, topology

from mpiqopt.errors import UsageError
from mpiqopt.registry import find_member
from mpiqopt.topologies.formats import choose

PAGE = (Path(__file__).parent.parent / "docs" / "graphs.md").read_text()
ZOO_GRAPHML = """<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <key attr.name="label" attr.type="string" for="node" id="d3" />
  <key attr.name="Latitude" attr.type="double" for="node" id="d2" />
  <key attr.name="LinkSpeedRaw" attr.type="double" for="edge" id="d5" />
  <graph edgedefault="undirected">
    <node id="0"><data key="d3">Aberdeen</data><data key="d2">57.1</data></node>
    <node id="1"><data key="d3">Zürich</data></node>
    <node id="2"><data key="d3">Madrid</data></node>
    <node id="10"><data key="d3">Oslo</data></node>
    <edge source="0" target="1"><data key="d5">1e9</data></edge>
    <edge source="0" target="1"><data key="d5">1e10</data></edge>
    <edge source="1" target="2"></edge>
    <edge source="2" target="10"></edge>
    <edge source="10" target="0"></edge>
    <edge source="10" target="10"></edge>
  </graph>
</graphml>
"""
ZOO_GML = """Creator "made up"
graph [
  directed 1
  Network "Graph [of labels]"
  node [
    id 0
    label "None"
    Longitude -1.5
  ]
  node [
    id 1
    label "None"
  ]
  node [
    id 2
    label "Zürich"
  ]
  edge [
    source 0
    target 1
    LinkLabel "OC-3"
  ]
  edge [
    source 0
    target 1
  ]
  edge [
    source 2
    target 1
  ]
]
"""


WRITERS = {
    "edgelist": networkx.write_edgelist,
    "weighted.txt": networkx.write_weighted_edgelist,
    "graphml": networkx.write_graphml,
    "gml": networkx.write_gml,
    "net": networkx.write_pajek,
    "json": lambda graph, path: path.write_text(json.dumps(networkx.adjacency_data(graph))),
    "links.json": lambda graph, path: path.write_text(json.dumps(networkx.node_link_data(graph))),
    "csv": lambda graph, path: networkx.to_pandas_edgelist(graph).to_csv(path),
    "no-index.csv": lambda graph, path: networkx.to_pandas_edgelist(graph).to_csv(path, index=False, sep=";"),
}


@pytest.mark.parametrize("weights", ["metropolis", "file"])
@pytest.mark.parametrize("ending", [*WRITERS, "edges", "csv.txt"])
def test_graphs_that_networkx_writes(ending, weights, tmp_path):
    graph = networkx.Graph()
    graph.add_weighted_edges_from([("n0", "n1", 0.25), ("n1", "n2", 0.5), ("n2", "n10", 0.125), ("n10", "n0", 0.3)])
    path = tmp_path / f"g.{ending}"
    if ending in WRITERS:
        WRITERS[ending](graph, path)
    else:
        comma = ", " if ending == "csv.txt" else " "
        lines = [comma.join(map(str, edge)) for edge in graph.edges(data="weight")]
        path.write_text("# a comment\n" + "\n".join(lines) + "\n")
    made = topology(f'[topology]\nname = "file"\npath = "{path}"\nweights = "{weights}"')
    expected = networkx.to_numpy_array(graph, nodelist=["n0", "n1", "n2", "n10"])
    if weights == "metropolis":
        expected = np.where(expected > 0, 1 / 3, 0.0)
    assert made.names == ("n0", "n1", "n2", "n10")
    assert np.allclose(made.cycle[0].dense(), expected + np.diag(1 - expected.sum(axis=1)), atol=1e-15)


@pytest.mark.parametrize("ending", ["adjlist", "g6", "s6", "mtx", "txt", "csv", "pandas.csv", "R.txt", "graph"])
def test_graphs_without_weights_come_back(ending, tmp_path):
    graph = networkx.convert_node_labels_to_integers(networkx.petersen_graph())
    path, array = tmp_path / f"g.{ending}", networkx.to_numpy_array(graph, nodelist=range(10))
    if ending == "mtx":
        import scipy.io
        import scipy.sparse

        scipy.io.mmwrite(path, scipy.sparse.coo_array(array))
    elif ending == "graph":
        lines = [" ".join(str(other + 1) for other in graph[node]) for node in range(10)]
        path.write_text("% of Petersen\n10 15\n" + "\n".join(lines))
    elif ending == "R.txt":
        pandas.DataFrame(array).to_csv(path, sep=" ", index_label=False)
        path.write_text("".join(path.read_text()))
    elif "csv" in ending or ending == "txt":
        if ending == "pandas.csv":
            networkx.to_pandas_adjacency(graph, nodelist=range(10)).to_csv(path)
        else:
            np.savetxt(path, array, delimiter="," if ending == "csv" else " ", header="ring")
    else:
        write = {"adjlist": networkx.write_adjlist, "g6": networkx.write_graph6, "s6": networkx.write_sparse6}
        write[ending](graph, path)
    made = find_member("topology", "file")(path=str(path)).make()
    assert np.array_equal((made.cycle[0].dense() > 0) & ~np.eye(10, dtype=bool), array > 0)


@pytest.mark.parametrize("kind", [networkx.DiGraph, networkx.Graph])
@pytest.mark.parametrize("ending", ["edges", "edgelist", "csv.txt", "graphml", "json", "links.json", "gml", "net"])
def test_directed_graph_files(ending, kind, directed_method, tmp_path):
    """Arcs as networkx has them; undirected GraphML and JSON have both arcs of an edge, a line of text one."""
    graph = kind([("a", "b"), ("b", "c"), ("c", "a"), ("c", "c")])
    path = tmp_path / f"g.{ending}"
    if ending == "edgelist":
        path.write_text("a b {}\nb c {'weight': 3}\nc a {}\nc c {}\n")
    elif ending in WRITERS:
        WRITERS[ending](graph, path)
    else:
        comma = ", " if ending == "csv.txt" else " "
        path.write_text(comma.join("ab") + "\n" + comma.join("bc3") + "\n" + comma.join("ca") + "\nc c\n")
    (mixing,) = topology(f'[topology]\nname = "file"\npath = "{path}"\ndirected = true').cycle
    arcs, text = [(0, 1), (1, 2), (2, 0)], ending in ("edges", "edgelist", "csv.txt")
    back = kind is networkx.Graph and not text
    assert sorted(map(tuple, mixing.arcs().tolist())) == sorted(arcs + back * [(j, i) for i, j in arcs])
    assert np.allclose(mixing.weights, 1 / 3 if back else 1 / 2, atol=1e-16)
    if kind is networkx.DiGraph and not text:
        said = r"no way back: the graph is directed; set topology.directed = true, or topology.arcs_are_links = true"
        with pytest.raises(UsageError, match=said):
            topology(f'[topology]\nname = "file"\npath = "{path}"')
        made = topology(f'[topology]\nname = "file"\npath = "{path}"\narcs_are_links = true')
        assert made.read["links"] == "undirected: arcs are taken as links"
        assert len(made.arcs()) == 6


def test_arcs_that_all_have_their_way_back_are_links(read):
    graph = networkx.cycle_graph(12).to_directed()
    for ending, write in WRITERS.items():
        if ending in ("graphml", "gml", "net"):
            file = io.BytesIO()
            write(graph, file)
            made = read(f"g.{ending}", file.getvalue())
            assert made.read["links"] == "undirected: each arc has its way back"
            assert len(links(made)) == 12
    assert links(read("g.json", json.dumps(networkx.node_link_data(graph)))) == links(made)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("g.edges", "0 1 0.5\n1 2 0.25\n1 0 0.25\n", "line 3: edge (1, 0) has two weights: 0.5 (line 1) and 0.25"),
        ("g.edges", "0 1 0.5\n1 2\n", "line 2: edge (1, 2) has no weight"),
        ("g.txt", "0 1 0 0\n1 0 0 0\n0 0 .5 .5\n0 0 .5 .4\n", "row 4 of the matrix sums to 0.9, want 1"),
        (
            "g.txt",
            ".8 .2 0 0\n.3 .7 0 0\n0 0 1 0\n0 0 0 1\n",
            "line 2: edge (1, 0) has two weights: 0.2 (line 1) and 0.3",
        ),
        ("g.txt", ".8 .2 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "line 1: edge (0, 1) has weight 0.2, and 0 back"),
        (
            "g.mtx",
            "%%MatrixMarket matrix coordinate real symmetric\n2 2 1\n2 1 .5\n",
            "row 1 of the matrix sums to 0.5",
        ),
        ("g.mtx", "%%MatrixMarket matrix coordinate pattern symmetric\n2 2 1\n2 1\n", "has no weight"),
        ("g.net", "*Vertices 2\n*Edges\n1 2 0.5\n2 1 0.25\n", "line 4: edge (2, 1) has two weights: 0.5 (line 3) and"),
        (
            "g.json",
            '{"directed": true, "nodes": [{}, {}], "links": [{"source": 0, "target": 1, "weight": 1}, '
            '{"source": 1, "target": 0, "weight": 2}]}',
            "edge (1, 0) has two weights: 1 and 2 (weights = 'file')",
        ),
    ],
)
def test_weights_that_contradict_are_refused(name, content, said, config, capsys, tmp_path):
    (tmp_path / name).write_text(content)
    path = config(topology={"name": "file", "path": name, "weights": "file"})
    assert said in refused(capsys, tmp_path, "topology", path)


def test_a_matrix_is_W_or_says_which_nodes_are_linked(read):
    values = np.array([[0.5, 0.2, 0, 0.3], [0.2, 0.7, 0.1, 0], [0, 0.1, 0.9, 0], [0.3, 0, 0, 0.7]])
    file = io.StringIO()
    np.savetxt(file, values)
    made = read("w.txt", file.getvalue(), weights="file")
    assert np.allclose(made.cycle[0].dense(), values, atol=1e-15)
    made = read("w.txt", file.getvalue())
    assert links(made) == pairs("0-1", "0-3", "1-2")
    assert made.read["weights"] == "those of the file are not used (topology.weights = 'file' takes them)"
    one_way = "0 1 0 0\n0 0 1 0\n0 0 0 1\n1 0 0 0\n"
    assert read("a.txt", one_way, directed=True).cycle[0].arcs().tolist() == [[3, 0], [0, 1], [1, 2], [2, 3]]
    assert links(read("a.txt", one_way, arcs_are_links=True)) == RING
    with pytest.raises(UsageError, match=r"line 1: \(0, 1\) has no way back: the graph is directed"):
        read("a.txt", one_way)


def test_the_largest_part_alone(config, capsys, tmp_path, read, directed_method, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "0 1 0.25\n1 2 0.25\n2 0 0.25\n3 4 0.5\n5 6 0\n6 7 0.5\n"
    (tmp_path / "islands.edges").write_text(text)
    path = Path(config(topology={"name": "file", "path": "islands.edges"})).name
    said = refused(capsys, tmp_path, "topology", path)
    assert "not connected (3 parts; no path from node 0 to 3, 4, 5, 6, 7)" in said
    assert "topology.largest_component = true" in said
    made = read("a.edges", text, largest_component=True)
    assert made.names == ("0", "1", "2")
    assert made.read["component"] == "3 of 8 nodes"
    made = read("a.edges", text.replace("0 1", "1 0"), largest_component=True, weights="file", nodes=3)
    assert np.allclose(made.cycle[0].dense(), np.full((3, 3), 0.25) + np.eye(3) / 4)
    made = read("a.edges", "d a\na b\nb a\nb c\nc d2\nd2 c\n", directed=True, largest_component=True)
    assert made.names == ("a", "b")
    made = read("a.edges", "b c\na d\n", largest_component=True)
    assert made.names == ("a", "d")  # of parts of the same size that of the first node


def test_two_networks_like_those_of_the_topology_zoo(read):
    """Labels are names where no two are the same, nodes are in the order of their ids, parallel links are one."""
    made = read("Made.graphml", ZOO_GRAPHML)
    assert made.names == ("Aberdeen", "Zürich", "Madrid", "Oslo")
    assert made.cycle[0].degrees().tolist() == [2, 2, 2, 2]
    assert made.read["dropped"] == "1 loop, 1 repeated link"
    with pytest.raises(
        UsageError, match=r"\(0, 1\) has no way back: the graph is directed; .* topology.arcs_are_links = true"
    ):
        read("Made.gml", ZOO_GML)
    made = read("Made.gml", ZOO_GML, arcs_are_links=True)
    assert made.names == ("0", "1", "2")
    assert links(made) == pairs("0-1", "1-2")
    assert made.read["dropped"] == "1 repeated link"
    assert read("Made.gml", ZOO_GML.replace('"None"', '"Rio"', 1), arcs_are_links=True).names == (
        "Rio",
        "None",
        "Zürich",
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("g.g6", "Cl\nCl\n", "2 graphs in one file, want one"),
        ("g.g6", "C l\n", "want one line of characters from ? to ~"),
        ("g.g6", "~?\n", "the line ends before it says how many nodes there are"),
        ("g.s6", ":~~~~~~~~\n", "has 68719476735 nodes: more than memory can hold"),
        ("g.net", "*Vertices 999999999999\n", "has 999999999999 nodes: more than memory can hold"),
        ("g.net", "*Vertices 3\n*Edges\n1 2\n2 4\n", "line 4: '4' is no vertex, want 1 to 3"),
        ("g.net", "*Vertices 3\n*Edges\n1 2\n*Vertices 3\n", "line 4: *vertices, want one network"),
        ("g.net", "1 2\n", "line 1: '1', want *vertices and their number first"),
        ("g.net", "*vertices 2\n*arcs\n1 2 x\n", "line 3: the weight of edge (1, 2) is 'x'"),
        ("g.net", "*vertices 2\n*matrix\n0 1\n", "line 2: want 2 rows of 2 numbers"),
        ("g.json", '{"elements": {"nodes": []}}', "the keys 'elements'; want lists nodes, and one of links, edges or"),
        ("g.json", '{"nodes": [], "links": [], "edges": []}', "has the keys 'nodes', 'links', 'edges'; want"),
        ("g.json", "[1]", "a JSON list, want an object with nodes"),
        (
            "g.json",
            '{"nodes": [{"id": 1}], "links": [{"source": 1, "target": 2}]}',
            "links[0] leads to 2, which is not",
        ),
        ("g.json", '{"nodes": [{"id": 1}], "links": [[1, 1]]}', "links[0] = [1, 1], want an object with source and"),
        ("g.json", '{"directed": "no", "nodes": [{"id": 1}], "links": []}', "directed = 'no', want true or false"),
        ("g.json", '{"nodes": [{"id": 1}, {"id": 2}], "adjacency": [[]]}', "adjacency has 1 lists for 2 nodes"),
        ("g.json", '{"nodes": [{"id": {}}], "links": []}', "the id of a node is {}, want a word or number"),
        ("g.json", "[" * 100_000, "nested too deeply"),
        ("g.json", "{", "not readable as a graph"),
        ("g.gml", "graph [" * 9999, "nested too deeply"),
        ("g.gml", ZOO_GML[:-9], "found EOF at (30, 1)"),
        ("g.graphml", "<graphml/>", "not readable as a graph"),
        ("g.graphml", ZOO_GRAPHML[:-30], "not readable as a graph"),
        (
            "g.graphml",
            ZOO_GRAPHML.replace("</graphml>", '<graph edgedefault="undirected"></graph></graphml>'),
            "2 graphs in one file, want one",
        ),
        ("g.graph", "4 4\n2 4\n1 3\n2 4\n", "line 1: 4 nodes, but 3 lines follow"),
        ("g.graph", "4 4\n2 4\n1 3\n2 4\n1\n", "line 4: node 3 names node 4, but the link is not named there"),
        ("g.graph", "2 1 001\n2 3\n1 4\n", "line 2: node 1 names node 2, but the link has weight 4 there, 3 here"),
        ("g.graph", "2 1\n3\n1\n", "line 2: node 1 has neighbour 3, want another of 1 to 2"),
        ("g.mtx", "%%MatrixMarket matrix array real general\n9999999 9999999\n1\n", "but the file has 59 bytes"),
        ("g.mtx", "%%MatrixMarket matrix coordinate real general\n2 3 1\n1 1 1\n", "want a square one of real numbers"),
        ("g.mtx", "%%MatrixMarket matrix coordinate pattern general\n9999999999999 9999999999999 1\n1 1\n", "memory"),
        ("g.edges", b"\x00\x01\x02", "is no text"),
        ("g.edges", "Malmö Oslo\n".encode("latin-1"), "line 1 is not UTF-8"),
        ("g.edges", "", "has no nodes"),
        ("g.edges", "0 1\n", "topology.nodes = 5"),
        ("absent.json", None, "absent.json: no such file"),
        ("g.edges.gz", gzip.compress(b"0 1\n1 2\n", mtime=0)[:-9], "a damaged archive"),
    ],
)
def test_wrong_graph_files(name, content, said, config, capsys, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    keys = {"nodes": 5} if said == "topology.nodes = 5" else {}
    path = config(topology={"name": "file", "path": name, **keys})
    assert said in refused(capsys, tmp_path, "topology", path)


@pytest.mark.parametrize(
    ("content", "keys", "said"),
    [
        ("0 1\n2 3\n", {}, "not connected (2 parts; no path from node 0 to 2, 3)"),
        ("0 1\n", {"weights": "file"}, "edge (0, 1) has no weight"),
        ("0 1 1.0\n", {"weights": "file"}, "use weights = 'lazy-metropolis'"),
        ("0 1 2.5\n", {"weights": "file"}, "does not contract"),
        ("0 1\n1 0\n", {"directed": True, "weights": "file"}, "weights are 1/(1 + outdegree); leave weights"),
        ("0 1\n1 2\n2 0\n1 0\n", {"directed": True}, "columns of W sum to 1 but not its rows (row 0: 1.33333)"),
        ("0 1\n", {"directed": 1}, "topology.directed = 1: want a valid boolean"),
        ("0 1\n", {"directed": True, "nodes": 5}, "topology.nodes = 5"),
        *(("\n", {"format": form}, "g.edges") for form in choose.MODULES),
        ("0 1\n", {"format": "dot"}, "topology.format = 'dot': want 'auto'"),
        ("0 1\n", {"encoding": "klingon"}, "topology.encoding = 'klingon'"),
    ],
)
def test_keys_that_do_not_fit_the_file(content, keys, said, config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.edges").write_text(content)
    path = Path(config(topology={"name": "file", "path": "g.edges", **keys})).name
    assert said in refused(capsys, tmp_path, "topology", path)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("form", ["txt", "graphml", "g6", "json"])
def test_compressed_files(form, compress, read):
    graph = networkx.cycle_graph(3)
    contents = {
        "txt": b"0 1\n1 2\n2 0\n",
        "graphml": "".join(networkx.generate_graphml(graph)).encode(),
        "g6": networkx.to_graph6_bytes(graph),
        "json": json.dumps(networkx.node_link_data(graph)).encode(),
    }
    ending = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz"}[compress]
    assert links(read(f"ring.{form}.{ending}", compress(contents[form]))) == pairs("0-1", "1-2", "0-2")


def test_encodings(read):
    text = "source;target\nMalmö;Oslo\nOslo;Malmö\n"
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert read("g.csv", text.encode(encoding)).names == ("Malmö", "Oslo")
    assert read("g.csv", text.encode("latin-1"), encoding="latin-1").names == ("Malmö", "Oslo")
    assert read("g.csv", text.replace("\n", "\r\n")).names == ("Malmö", "Oslo")
    assert read("g.graphml", ZOO_GRAPHML.replace('"utf-8"', '"latin-1"').encode("latin-1")).names[1] == "Zürich"
    assert read("g.graphml", ZOO_GRAPHML.encode("latin-1"), encoding="latin-1").names[1] == "Zürich"


def test_texts_say_their_format_where_the_ending_does_not(read):
    ring = networkx.cycle_graph(4)
    for write in (networkx.write_graphml, networkx.write_gml, networkx.write_pajek):
        file = io.BytesIO()
        write(ring, file)
        assert len(links(read("ring.txt", file.getvalue()))) == 4
    assert links(read("ring.dat", json.dumps(networkx.node_link_data(ring)))) == RING
    assert links(read("ring", networkx.to_graph6_bytes(ring))) == RING
    assert links(read("ring.txt", ">>sparse6<<" + networkx.to_sparse6_bytes(ring, header=False).decode())) == RING


def examples() -> list[tuple[str, str, str]]:
    """File, its content and the config below it of each example of the page."""
    return re.findall(r"^`([\w.]+)`[^\n]*:\n\n```\n(.*?)```\n\n```toml\n(.*?)```", PAGE, re.S | re.M)


def test_the_page_has_an_example_of_every_format():
    """sparse6 is as graph6."""
    forms = {choose.ENDINGS.get(Path(name).suffix, "text") for name, _, _ in examples()}
    assert forms | {"sparse6"} == {*choose.ENDINGS.values(), "text"}
    assert {name for name, _, _ in examples()} > {"ring.csv", "w.txt", "pandas.csv", "ring.mtx"}


@pytest.mark.parametrize(("name", "content", "config"), examples())
def test_examples_of_the_page(name, content, config, tmp_path):
    (tmp_path / name).write_text(content)
    made = topology(config.replace(name, str(tmp_path / name)))
    assert (made.nodes, made.diameter, len(made.arcs())) == (4, 2, 8)
    assert re.split("[ ,]", made.read["format"])[0] in choose.MODULES


SAMPLES = {
    "g.graphml": ZOO_GRAPHML,
    "g.gml": ZOO_GML,
    **{name: content for name, content, _ in examples()},
}


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files_are_read_or_refused(name, read):
    """Bytes flipped, lost, repeated: one line, soon."""
    rng = random.Random(name)
    start = time.monotonic()
    for _ in range(60):
        content = odd.damaged(rng, SAMPLES[name].encode())
        keys = rng.choice(({}, {"weights": "file"}, {"directed": True}, {"largest_component": True}))
        with suppress(UsageError):
            made = read(name, content, **keys)
            assert len(made.names) == made.cycle[0].nodes == len(set(made.names))
    assert time.monotonic() - start < 20
