"""Graphs in texts that do not say their format: links, neighbours and matrices, with all separators and headers."""

from pathlib import Path

import pytest
from tools.refusals import refused
from tools.topologies import RING, links, pairs


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ring.csv", "0,1,0,1\n1,0,1,0\n0,1,0,1\n1,0,1,0\n"),
        ("w.txt", "0.5 0.25 0 0.25\n0.25 0.5 0.25 0\n0 0.25 0.5 0.25\n0.25 0 0.25 0.5\n"),
        ("ring.adjlist", "0 1 3\n1 2\n2 3\n3\n"),
        ("ring.edges", "0;1;0;1\n1;0;1;0\n0;1;0;1\n1;0;1;0\n"),
        ("ring", "# a ring\n\n0\t1\t0\t1\n1\t0\t1\t0\n0\t1\t0\t1\n1\t0\t1\t0"),
        ("names.csv", "0,1,2,3\n0,1,0,1\n1,0,1,0\n0,1,0,1\n1,0,1,0\n"),
        ("r.txt", '"0" "1" "2" "3"\n"0" 0 1 0 1\n"1" 1 0 1 0\n"2" 0 1 0 1\n"3" 1 0 1 0\n'),
        ("long.txt", "0 1 3\n1 0 2\n2 1 3\n3 2 0\n4 0 1 2 3\n"),
        ("colons.txt", "0: 1 3\n1: 0, 2\n2: 1 3\n3:\n"),
        ("csv.txt", "0, 1\n1, 2\n2, 3\n3, 0\n"),
        ("head.csv", ",source,target\n0,0,1\n1,1,2\n2,2,3\n3,3,0\n"),
        ("gephi.csv", "Target;Source;Type;Weight\n1;0;Undirected;0,5\n2;1;Undirected;0,5\n3;2;x;1\n0;3;x;1\n"),
        ("float.txt", "0.0e+00 1.0e+00\n1.0e+00 2.0e+00\n2.0e+00 3.0e+00\n3.0e+00 0.0e+00\n"),
        ("snap.txt", "# Nodes: 4 Edges: 4\n# FromNodeId\tToNodeId\n0\t1\n1\t0\n1\t2\n2\t3\n3\t0\n3\t3\n"),
        ("konect.txt", "% sym unweighted\n0 1\n1 2\n2 3\n3 0\n"),
    ],
)
def test_texts_are_read_as_what_they_can_be(name, content, read):
    wheel = pairs("0-4", "1-4", "2-4", "3-4") if name == "long.txt" else set()
    assert links(read(name, content)) == RING | wheel


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("0 1 0\n1 0 1\n0 1 0\n", "fits a matrix and an edge list: say topology.format = 'matrix' or 'edges'"),
        ("0,1,0\n0,0,1\n1,0,0\n", "fits a matrix and an edge list"),
        ("0.5 0.5\n0.5 0.5\n", "fits a matrix and an edge list"),
        ("0 1 3\n1 2\n2 3\n3\n", "fits an edge list and an adjacency list"),
        ("0 1 3\n1 2\n2 3\n", "fits an edge list and an adjacency list"),
        ("4 4\n2 4\n1 3\n2 4\n1 3\n", "fits METIS and an edge list"),
        ("5 4\n0 1\n1 2\n2 3\n3 4\n", "line 1: 5 4 is a link, or numbers of nodes and links"),
        ("0 1 0 1\n1 0 1 0\n0 1 0 1\n", "4 words fit no edge list"),
        ("0 1 1 77\n1 2 1 78\n2 0 1 79\n", "4 words fit no edge list, and the lines no matrix"),
        ("0 1 0 1\n1 0 x 0\n0 1 0 1\n1 0 1 0\n", "line 2: column 3 is 'x', want a number"),
        ("0 1\n1 2\n\n# note\n2 3 heavy\n", "line 5: the weight of edge (2, 3) is 'heavy'"),
        ("0 1 0,5\n1 2 0,5\n2 0 0,5\n", "line 1: blanks, and commas between digits"),
        ("a,b\nb,,c\n", "line 2: the name of a node is empty"),
        ("a b {}\nb c {'weight': \n", "line 2: a { without its }"),
        ("a b {}\nb c {'weight': }\n", "line 2: \"{'weight': }\": want attributes"),
        ("a b {" + "[" * 50_000 + "}\n", "line 1: '{["),
    ],
)
def test_texts_that_fit_two_readings_or_none_are_refused(content, said, config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.txt").write_text(content)
    path = Path(config(topology={"name": "file", "path": "g.txt"})).name
    assert said in refused(capsys, tmp_path, "topology", path)


def test_a_key_decides_between_two_readings(read):
    three = "0 1 0\n1 0 1\n0 1 0\n"
    assert links(read("a.txt", three, format="matrix")) == pairs("0-1", "1-2")
    assert links(read("a.txt", three, format="edges")) == pairs("0-1")
    assert links(read("a.txt", "0 1 3\n1 2\n2 3\n3\n", format="adjlist")) == RING
    assert links(read("a.txt", "0 1 3\n1 2\n2 3\n3\n", format="edges")) == pairs("0-1", "1-2", "2-3")
    assert links(read("a.txt", "0 1 0.5 77\n1 2 0.5 78\n", format="edges")) == pairs("0-1", "1-2")
    assert links(read("a.txt", "5 4\n0 1\n1 2\n2 3\n3 4\n", format="edges")) >= pairs("4-5", "3-4")
    # weights are wanted, which an adjacency list has not
    made = read("a.txt", "0 1 3\n1 2 1\n2 3 1\n3\n", weights="file")
    assert made.cycle[0].dense()[0, 1] == 3
    # usual weights are no entries of a matrix
    assert links(read("a.txt", "0 1 0.25\n1 2 0.5\n2 0 0.125\n")) == pairs("0-1", "1-2", "0-2")
    assert links(read("a.txt", "0 1\n1 0\n")) == pairs("0-1")
    # one or two nodes without links
    assert read("a.txt", "1\n").names == ("1",)
    assert read("a.txt", "0\n1\n").names == ("0", "1")


@pytest.mark.parametrize(
    "content",
    [
        "New York,Boston\nBoston,Rio\nRio,New York\n",
        "New York\tBoston\nBoston\tRio\nRio\tNew York\n",
        "New York; Boston\nBoston; Rio\nRio; New York",
        "New York: Boston, Rio\nRio: Boston\n",
        '"New York": Boston Rio\n"Rio": Boston\n',
        '"New York" Boston\nBoston "Rio"\nRio "New York" # "a#\n',
        '"","from","to"\n"1","New York","Boston"\n"2","Boston","Rio"\n"3","Rio","New York"\n',
        '"from" "to"\n"1" "New York" "Boston"\n"2" "Boston" "Rio"\n"3" "Rio" "New York"\n',
        "index,to,from\n9,New York,Boston\n9,Boston,Rio\n9,Rio,New York\n",
    ],
)
def test_names_with_blanks_stay_whole(content, read):
    made = read("g.csv", content)
    assert made.names == ("Boston", "New York", "Rio")
    assert links(made) == pairs("Boston-New York", "Boston-Rio", "New York-Rio")


def test_a_header_is_no_link_and_a_link_no_header(read):
    made = read("g.csv", "\nsource,target,weight\n0,1,0.2\n1,2,0.3\n")
    assert made.read["header"] == "line 2: source, target, weight"
    assert made.read["columns"] == "source 1, target 2, weight 3"
    assert read("g.txt", "person friend\n0 1\n1 2\n").names == ("0", "1", "2")
    assert read("g.txt", "one other strength\na b 3\nb c 4\n").names == ("a", "b", "c")
    assert links(read("g.txt", "from to\nto a\na from\n")) == pairs("from-to", "a-to", "a-from")
    assert read("g.txt", "a b\n0 1\n1 a\n").names == ("0", "1", "a", "b")


def test_nodes_of_a_matrix_may_be_called_as_columns_of_links_are(read):
    """Above a matrix i and j, or source and target, are nodes."""
    for names in (["h", "i", "j", "k"], ["source", "target", "u", "v"]):
        rows = ["0,1,0,1", "1,0,1,0", "0,1,0,1", "1,0,1,0"]
        made = read("m.csv", "\n".join([",".join(["", *names]), *map(",".join, zip(names, rows, strict=True))]))
        assert made.read["format"] == "matrix, separated by commas"
        assert sorted(made.names) == sorted(names)
        assert len(links(made)) == 4


def test_lines_of_a_graph_file_count_as_in_networkx(read):
    """Names in the order of their numbers, links once, the last weight that was given, loops dropped."""
    text = "10 2 0.25\n2 1.5\n2, 10, 0.25\n# none\n1.5 1.5 7\n0\n1.5 2 0.125\n10 2\n"
    made = read("g.edges", text, weights="file")
    expected = [[1, 0, 0, 0], [0, 0.875, 0.125, 0], [0, 0.125, 0.625, 0.25], [0, 0, 0.25, 0.75]]
    assert made.cycle[0].dense().tolist() == expected
    assert made.names == ("0", "1.5", "2", "10")
    assert made.read["dropped"] == "1 loop, 1 repeated link"
    assert made.read["links"] == "undirected, 2 of them given both ways"
