"""Parquet, LIBSVM, NPZ and HDF5 as other programs write them, names of nodes in all formats, and second files."""

import gzip
import lzma
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
from tools.written_tables import FRAME, WRITTEN, X, refusal, rows

from mpiqopt.data.source import Table
from mpiqopt.errors import UsageError
from mpiqopt.registry import find_member


def test_a_column_names_the_nodes(written):
    text = "site,a,y\nn10,1,2\nn2,3,4\nn10,5,6\n"
    for kind in ("csv", "parquet"):
        if kind == "parquet":
            pandas.read_csv("d.csv").to_parquet("d.parquet")
        table = written(text if kind == "csv" else None, kind, by="site")
        assert table.names == ("a",)
        assert table.group_names == ("n2", "n10")
        assert table.groups.tolist() == [1, 0, 1]
    assert written("site,a,y\n3,1,2\n1,3,4\n", by=0).group_names == ("1", "3")
    assert "every sample needs a node" in refusal(written, "site,a,y\nA,1,2\n,3,4\nB,3,4\n", by="site")
    names = np.array(["b", "a", "b"])
    np.savez("d.npz", X=np.ones((3, 2)), y=np.arange(3), site=names)
    with h5py.File("d.hdf5", "w") as file:
        file["X"], file["y"], file["site"] = np.ones((3, 2)), np.arange(3), names.astype("S")
    for kind in ("npz", "hdf5"):
        assert written(None, kind, by="site").groups.tolist() == [1, 0, 1]
        assert "has no array 'none'" in refusal(written, None, kind, by="none")


def test_parquet_is_read_as_pandas_writes_it(written):
    frame = FRAME.assign(
        colour=pandas.Categorical(["r", "g", "r", "r"]), n=[1, 2, 3, None], ok=[True, False, True, True]
    )
    frame.to_parquet("d.parquet")
    table = written(None, "parquet", target="y", categories="all", missing="zero")
    assert table.names == ("a", "b", "colour=g", "colour=r", "n", "ok")
    assert rows(table)[:, :2].tolist() == X.tolist()
    assert rows(table)[:, 2:].tolist() == [[0, 1, 1, 1], [1, 0, 2, 0], [0, 1, 3, 1], [0, 1, 0, 1]]
    assert "row 4, column 5 ('n')" in refusal(written, None, "parquet", target="y", categories="all")
    frame.set_index("a").to_parquet("d.parquet")
    assert written(None, "parquet", target="y", features=["b"]).names == ("b",)
    frame["when"] = pandas.Timestamp("2024-01-01")
    frame.to_parquet("d.parquet")
    assert "column 7 ('when') is no number" in refusal(written, None, "parquet", target="y", categories=["colour"])
    assert "not readable as parquet" in refusal(written, b"PAR1 and so on", "parquet")


def test_parquet_without_its_library_is_one_line(written, monkeypatch):
    monkeypatch.setattr("mpiqopt.data.parquet.find_spec", lambda name: None)
    assert "pip install pyarrow" in refusal(written, b"PAR1", "parquet")


SVM = "{no} 1:0.5 3:2 # first\n\n{yes} qid:7 2:-1\n{no}\n"


@pytest.mark.parametrize("words", [("-1", "1"), ("no", "yes"), ("é", "ü")])
@pytest.mark.parametrize("change", [bytes, gzip.compress, lzma.compress, lambda b: b.decode().encode("utf-16")])
def test_libsvm_with_words_comments_and_compression(words, change, written):
    table = written(change(SVM.format(no=words[0], yes=words[1]).encode()), "libsvm")
    assert rows(table).tolist() == [[0.5, 0, 2], [0, -1, 0], [0, 0, 0]]
    assert table.words == (None if words[0] == "-1" else words)
    assert table.targets.tolist() == ([-1, 1, -1] if words[0] == "-1" else [0, 1, 0])
    assert table.read["index base"] == "1"


def test_the_index_base_of_libsvm_is_found_or_given(written):
    from sklearn.datasets import load_svmlight_file

    for text, base, width in (("1 0:1 2:3\n", 0, 3), ("1 1:1 2:3\n", 1, 2)):
        table = written(text, "libsvm")
        assert table.read["index base"] == str(base)
        assert rows(table).tolist() == load_svmlight_file("d.libsvm")[0].toarray().tolist()
        assert table.features == width
    assert written("1 1:1 2:3\n", "libsvm", index_base=0).features == 3
    assert "line 1: index 0, but data.index_base = 1" in refusal(written, "1 0:1 2:3\n", "libsvm", index_base=1)
    assert written("1 1:1\n", "libsvm", features=7).features == 7


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        ("1 1:0.5\n\n# x\n-1 1:x\n", {}, "line 4: '1:x' is no index:value"),
        ("1 1:0.5\n-1 3:1 2:1\n", {}, "line 2: index 2 comes after 3"),
        ("1 1:0.5\n-1 3:1 3:1\n", {}, "line 2: index 3 comes after 3"),
        ("1 1:0.5\n-1,2 3:1\n", {}, "line 2: several labels, '-1,2'"),
        ("1 1:0.5\n2:1 3:1\n", {}, "line 2: no label before '2:1'"),
        ("1 1:0.5\n1 3:1\nx 3:1\n", {}, "line 3: the label 'x' is no number, but most are"),
        ("a 1:0.5\nb 3:1\nc 3:y\n", {}, "line 3: '3:y' is no index:value"),
        ("1 1:0.5\n# x\n1 1:1 4:1\n", {"features": 3}, "line 3: index 4, but data.features = 3"),
        ("1 1:0.5\n1 4294967296:1\n", {}, "line 2: index 4294967296: want less than 2^31"),
    ],
)
def test_the_line_of_a_libsvm_file_that_is_wrong_is_named(text, keys, said, written):
    assert said in refusal(written, text, "libsvm", **keys)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr"])
def test_sparse_arrays_of_scipy_are_read_as_what_they_are(kind, written):
    from scipy.sparse import coo_array, save_npz

    dense = np.arange(12.0).reshape(3, 4) * (np.arange(12).reshape(3, 4) % 3 > 0)
    save_npz("d.npz", coo_array(dense).asformat(kind))
    with np.load("d.npz") as parts:
        np.savez("d.npz", y=np.array([b"u", b"v", b"u"]), **parts)
    table = written(None, "npz")
    assert rows(table).tolist() == dense.tolist()
    assert (table.words, table.targets.tolist()) == (("u", "v"), [0, 1, 0])
    assert "cs" in table.rows(slice(0, 2)).format


def sparse(**changes) -> dict:
    parts = {"data": [1.0, 2.0], "indices": [0, 1], "indptr": [0, 1, 2, 2], "shape": [3, 2], "y": [0, 1, 0]}
    return {name: part for name, part in (parts | changes).items() if part is not None}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (sparse(indices=[0.0, 1.0]), "its indices are of type float64; want integers"),
        (sparse(data=[1j, 2.0]), "real numbers, got type complex128"),
        (sparse(format="dia"), "its format is 'dia'; want one of csr, csc, bsr, coo"),
        (sparse(format="csc", indptr=[0, 1, 2], indices=[0, 7]), "not readable as npz"),
        (sparse(format="coo"), "has no array 'row'"),
        (sparse(indptr=[0, 1, 2]), "its parts are those of CSC and no format is given"),
        ({"X": np.ones((2, 2)), "y": np.array([1j, 2])}, "targets that are real numbers or words, got type complex128"),
        ({"X": np.ones((2, 2)), "y": np.array(["2024", "2025"], "M8[Y]")}, "words, got type datetime64"),
        ({"X": np.ones((2, 2)), "y": np.array([{}, None])}, "not readable as npz"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_samples_are_refused(parts, said, written):
    np.savez("d.npz", **parts)
    assert said in refusal(written, None, "npz")


def test_numbers_in_other_files_are_no_part_of_an_hdf5_file(written):
    with h5py.File("other.h5", "w") as file:
        file["X"] = np.ones((3, 2))
    layout = h5py.VirtualLayout((3, 2), float)
    layout[:] = h5py.VirtualSource("other.h5", "X", (3, 2))
    with h5py.File("d.hdf5", "w") as file:
        file["y"] = np.arange(3)
        file["linked"] = h5py.ExternalLink("other.h5", "/X")
        file["soft"] = h5py.SoftLink("/linked")
        file["away"] = h5py.ExternalLink("other.h5", "/")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("outside", (3, 2), "f8", external=[("raw", 0, 48)])
        file["here"] = np.ones((3, 2))
        file["alias"] = h5py.SoftLink("here")
    for key, said in (
        ("linked", "is a link to another file, 'other.h5'"),
        ("soft", "'linked' is a link to another file"),
        ("away/X", "'away' is a link to another file"),
        ("virtual", "a virtual dataset: its numbers are in other files"),
        ("outside", "stored outside: its numbers are in other files"),
    ):
        assert said in refusal(written, None, "hdf5", x_key=key)
    Path("link.hdf5").symlink_to("d.hdf5")
    for key in ("here", "alias", "/alias"):
        assert rows(written(None, "hdf5", name="link.hdf5", x_key=key)).tolist() == np.ones((3, 2)).tolist()


def held_out(kind: str, first, second, **keys) -> Table | None:
    """The table of a second file, in terms of the first one's."""
    for name, content in (("train", first), ("test", second)):
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    source = find_member("data", kind)(path="train", test_path="test", **keys)
    return source.held_out(source.open(0))


def test_a_second_file_is_read_in_the_terms_of_the_first(written):
    first = "a,colour,y\n1,red,no\n3,blue,yes\n?,red,no\n"
    keys = {"categories": "all", "missing": "mean"}
    table = held_out("csv", first, "y,extra,colour,a\nyes,9,blue,5\nyes,9,blue,?\n", target="y", **keys)
    assert rows(table).tolist() == [[5, 1, 0], [2, 1, 0]]
    assert table.targets.tolist() == [1, 1]
    assert held_out("csv", "1.5,2,3\n4,5,6\n", "7.5,8,9\n").targets.tolist() == [9]
    for second in ("b,a,y\n3,4,5\n", ",a,b,y\n0,4,3,5\n", '"a" "b" "y"\n"1" 4 3 5\n', "y;b;a\n5;3;4\n"):
        for training in (WRITTEN["pandas"], WRITTEN["pandas with its index"], WRITTEN["R, write.table"]):
            assert rows(held_out("csv", training, second)).tolist() == [[4, 3]]
    assert find_member("data", "csv")(path="train").held_out(table) is None
    for second, said in (
        ("a,colour,y\n1,red,maybe\n", "its label 'maybe' is none of train: no = 0, yes = 1"),
        ("a,colour,y\n1,green,no\n", "line 2, column 2 ('colour'): 'green' is no value of the training file's column"),
        ("a,y\n1,no\n", "it has no column 'colour', which the training file has"),
        ("a,colour,y\nx,red,no\n2,red,yes\n3,red,yes\n", "data.test_path = test: line 2, column 1 ('a'): 'x'"),
    ):
        assert said in refusal(held_out, "csv", first, second, **keys)
    assert "it has 2 columns, the training file 3" in refusal(held_out, "csv", "1.5,2,3\n4,5,6\n", "7.5,8\n1,2\n")


def test_a_second_file_of_libsvm_has_the_first_ones_features(written):
    table = held_out("libsvm", "b 1:1 5:2\na 2:1\n", "a 3:4\n")
    assert rows(table).tolist() == [[0, 0, 4, 0, 0]]
    assert table.targets.tolist() == [0]
    assert "data.test_path = test: line 2: index 6, but train has 5 features" in refusal(
        held_out, "libsvm", "1 1:1 5:2\n", "1 1:1\n1 6:1\n"
    )
    assert "its label 'c' is none of train" in refusal(held_out, "libsvm", "b 1:1 5:2\na 2:1\n", "c 3:4\n")


def test_second_files_of_arrays(written):
    for kind in ("npz", "hdf5"):
        for name, y, width in (
            ("train", [b"u", b"v", b"w"], 2),
            ("test", [b"w", b"u", b"u"], 2),
            ("wide", [b"u"] * 3, 3),
        ):
            if kind == "npz":
                with open(name, "wb") as file:
                    np.savez(file, X=np.ones((3, width)), y=np.array(y))
            else:
                with h5py.File(name, "w") as file:
                    file["X"], file["y"] = np.ones((3, width)), y
        source = find_member("data", kind)(path="train", test_path="test")
        assert source.held_out(source.open(0)).targets.tolist() == [2, 0, 0]
        with pytest.raises(UsageError, match="it has 3 features, train 2"):
            find_member("data", kind)(path="train", test_path="wide").held_out(source.open(0))
