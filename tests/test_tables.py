"""Tables as people have them: what other programs write is read back to the same numbers, or refused in one line."""

import bz2
import gzip
import lzma
import random
from pathlib import Path

import h5py
import numpy as np
import pytest
from tools.tables import by_what_is_said, damaged
from tools.written_tables import FRAME, WRITTEN, X, Y, refusal, rows

from mpiqopt.cli import main
from mpiqopt.data.source import Table
from mpiqopt.errors import WIDTH, UsageError, error_line
from mpiqopt.registry import find_member


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_programs_write_comes_back_as_the_same_numbers(name, encoding, written):
    table = written(WRITTEN[name].removeprefix("\ufeff" * (encoding == "utf-16")).encode(encoding))
    assert rows(table).tolist() == X.tolist()
    assert table.targets.tolist() == Y.tolist()
    assert table.names in (("a", "b"), None)
    assert (table.names is None) == (table.read["header"] == "none")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("name", ["pandas, European", "R, write.table"])
def test_compressed_text_is_read_whatever_its_name(name, compress, written):
    table = written(compress(WRITTEN[name].encode()))
    assert rows(table).tolist() == X.tolist()
    assert table.read["format"].endswith((", gzip", ", bz2", ", xz"))


def test_numbers_are_rounded_as_python_rounds_them(written):
    """Whatever their digits, and by all ways that pandas reads them."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(3000) * 10.0 ** rng.integers(-300, 300, 3000)
    words = [f"{value:.{digits}e}" for value, digits in zip(values, rng.integers(0, 25, 3000), strict=True)]
    words += [f"{value:.30f}" for value in rng.random(300)] + ["9007199254740993", "18446744073709551617", "4.9e-324"]
    text = "\n".join(f"{word},1.5" for word in words)
    for content in (text, text + "\n# end", gzip.compress(text.encode())):
        assert rows(written(content, target=1))[:, 0].tolist() == [float(word) for word in words]


def test_a_large_file_is_read_in_threads_to_the_same_numbers(written):
    """More than 5 MB; a line that is wrong, wherever pandas divides the file, is named."""
    lines = [f"{number},{number / 7!r},{number % 3}" for number in range(250_000)]
    text = "\n".join(lines)
    assert len(text) > 6_000_000
    for begin in ("a,b,y\n", "\ufeff", ""):
        table = written(begin + text)
        assert table.samples == 250_000
        assert rows(table)[:, 1].tolist() == [number / 7 for number in range(250_000)]
    for wrong in ("1,2", "1,2,3,4", "1,x,3"):
        for place in (123_456, 249_999):
            text = "\n".join(wrong if number == place else line for number, line in enumerate(lines))
            assert f"line {place + 2}" in refusal(written, "a,b,y\n" + text)


def test_what_was_read_is_said(written):
    said = written("# x\n\nid;a;b;y\n1;2,5;3;no\n2;3,5;4;yes\n3;1,25;5;no\n", ignore=["id"]).read
    assert said == {
        "format": "csv, semicolons between columns, decimal commas",
        "header": "line 3",
        "target": "'y' (column 4)",
        "features": "2: a, b",
        "labels": "no = 0, yes = 1",
    }
    said = written("\n".join(f"{j * j},{j},1.5" for j in range(12))).read
    assert said == {
        "format": "csv, commas between columns",
        "header": "none",
        "target": "column 3",
        "features": "2",
    }
    assert "column 1, without a name: an index" in written(WRITTEN["pandas with its index"]).read["left out"]
    assert "column 1, without a name: names of rows" in written(WRITTEN["R, write.table"]).read["left out"]


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("a,b\n1,2\n3,4\n", "line 1"),
        ("a,2019\n1,2\n3,4\n", "line 1"),
        ("1.5,2\n1,2\n3,4\n", "none"),
        ("1,2\n1,2\n3,4\n", "none"),
        ("5.1,red\n1,blue\n3,green\n", "none"),
        ("39,red\n1,red\n3,green\n", "none"),
        ("size,colour\n1,red\n3,green\n", "line 1"),
        ("size,true\n1,true\n3,false\n", "line 1"),
        ("?,2\n1,2\n3,4\n", None),
        ("country,2019,2020\nA,1,2\nB,3,4\n", "say data.header"),
        ("0,1,2\n1.5,2,3\n2,3,4\n", "say data.header"),
        (",0,1,2\n0,1.5,2,3\n1,2,3,4\n", "say data.header"),
        ("x,2.5,3\n4,5,6\n7,8,9\n", "say data.header"),
        ("shape,colour\nround,red\nflat,green\n", "line 1"),
        ("round,red\nround,red\nflat,green\n", "none"),
        ("round,blue\nround,red\nflat,green\n", "say data.header"),
    ],
)
def test_a_header_is_found_or_asked_for(text, header, written):
    keys = {"missing": "drop"} if header is None else {"categories": "all"}
    if header and header.startswith("say"):
        line = refusal(written, text, **keys)
        assert header in line
        assert "line 1 may be a header or a sample" in line
        assert written(text, header=True, categories="all").read["header"] == "line 1"
    else:
        assert written(text, **keys).read["header"] == (header or "none")


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        ("1,5;2;3\n2,5;3;4\n", {}, None),
        ("1,234;2;0\n5,678;3;1\n", {}, "line 1: '1,234' may be 1.234 or 1234: say data.decimal = ','"),
        ("1,234;2;0\n5,678;3;1\n", {"decimal": ","}, None),
        ("1,234;2;0\n5,67;3;1\n", {}, None),
        ("39, State gov, <=50\n50, Self, >50\n38, Private, <=50\n", {"categories": "all"}, None),
        ("39, State-gov, <=50\n50, Self, <=50\n38, Private, <=50\n", {"categories": "all"}, None),
        ("a b,c d\ne f,g h\n", {"categories": "all"}, "2 columns between commas or 3 columns between blanks"),
        ("1\n2\n3\n", {}, "a single column"),
        ("1;2\n2;3\n", {"delimiter": ","}, "no line has two fields with data.delimiter = ','"),
        ("a,b,c,y\n1,2,3\n4,5,6\n", {}, "line 1: 4 names, 3 columns"),
        ("a,b\n1,2,3,4\n4,5,6,7\n", {}, "line 1: 2 names, 4 columns"),
        ("a b y\n1 1 2 3\n1 4 5 6\n", {}, "3 names, 4 columns"),
        ("1,2\n1,2,3\n4,5,6\n", {}, "line 1: 2 fields, 3 columns"),
        ("a,b,y\n1,2,3\n4,5\n6,7,8\n", {}, "line 3: 2 fields, but 3 columns"),
        ("a,b,y\n1,2,3\n4,5\n6,7,8\n", {"missing": "drop"}, "line 3: 2 fields, but 3 columns"),
        ("a,b,y\n1,2,3\n4,5\n6,7,8\n", {"missing": "mean", "target": 0}, "line 3: 2 fields, but 3 columns"),
        ("a,b,y\n1,2,3\n4,5\n6,7,8\n", {"target": 0, "features": ["b"]}, "line 3: 2 fields, but 3 columns"),
        ("a,b,y\n1,2,3\n4,5,6,7\n6,7,8\n", {}, "line 3: 4 fields, but 3 columns"),
        ("a,b,y\n1,2,no\n\n\"4\",5,\"y\nes\"\n1,x,no\n2,3,no\n", {}, "line 6, column 2 ('b'): 'x' is no number"),
        ("a,b,y\r\n1,2,3\r\n4,5,x\r\n7,8,9\r\n1,2,3\r\n", {}, "line 3, column 3 ('y'): 'x' is no number"),
        ("1,2,3\n4,5,6\n7,8,9,\n", {}, "line 3: 4 fields, but 3 columns"),
        ("a;b\n1;2\n3;4\n5;6,5\n", {"decimal": "."}, "('b'): '6,5' is no number: say data.decimal = ','"),
        ("a,b\n1,2\n3,4\n1_0,5\n", {}, "line 4, column 1 ('a'): '1_0' is no number"),
        ("a,b\n1,2\n3,4\n0x1,5\n", {}, "line 4, column 1 ('a'): '0x1' is no number"),
        ("a,b\n1,2\n3,4\n5,\x00\n", {}, "bytes that are 0"),
        ("a,b,y\n1,2,3\n4,\"5,6\n7,8,9\n", {}, "line 3: a quotation mark that is not closed"),
        ("when,a,y\n2024-01-01,1,2\n2024-01-02,3,4\n", {}, "line 2, column 1 ('when'): '2024-01-01' is no number"),
        ("when,a,y\n10:00,1,2\n10:05,3,4\n", {"categories": ["a"]}, "say data.ignore = ['when'], or data.categories"),
        ("2024-01-01,1.5,2\n2024-01-02,3,4\n", {}, "column 1: '2024-01-01' is no number: say data.ignore = [0]"),
        (",a,y\n5,1,2\n3,3,4\n9,1,3\n", {}, "column 1 has no name and does not count: say data.ignore = [0]"),
        ("a,a,y\n1,2,3\n3,4,5\n", {"ignore": ["a"]}, "columns 1, 2 are called so; say a number"),
        ("a,b,y\n1,2,3\n3,4,5\n", {"target": "z"}, "no such column; columns: 0 .. 2, a, b, y"),
        ("1,2,3\n3,4,5.5\n", {"target": "z"}, "columns: 0 .. 2 (the file has no header)"),
        ("a,b,y\n1,2,3\n3,4,5\n", {"target": 3}, "data.target = 3"),
        ("a,b,y\n1,2,3\n3,4,5\n", {"features": ["a", "y"]}, "data.target: column 3 ('y') cannot be a feature, too"),
        ("a,b,y\n1,2,3\n3,4,5\n", {"features": ["a", 0]}, "data.features names a column twice"),
        ("a,b,y\n1,2,3\n3,4,5\n", {"ignore": ["a", "b"]}, "no feature is left beside the target"),
        ("a,b,y\n1,2,3\n3,4,5\n", {"categories": ["a"], "ignore": ["a"]}, "column 1 ('a') is no feature"),
        ("a,b,y\n1,2,3\n3,?,5\n5,6,7", {}, "line 3, column 2 ('b'): '?' is missing: say data.missing = 'drop', 'mean'"),
        ("a,b,y\n1,2,3\n3,4,\n5,6,7", {}, "line 3, column 3 ('y'): '' is missing: say data.missing = 'drop'"),
        ("a,b,y\n1,2,3\n3,4,NA\n5,6,7", {"missing": "zero"}, "only data.missing = 'drop' helps a target"),
        ("a,b,y\n1,?,3\n?,4,5\n", {"missing": "drop"}, "something is missing in every sample"),
        ("a,b,y\n1,2,3\n", {"by": "y"}, "data.target: column 3 ('y') cannot be a feature, too, nor be ignored"),
        ("a,b,y\n1,True,3\n4,False,5\n4,True,6\n2,no,2\n5,True,3\n", {}, "column 2 ('b')"),
    ],
)  # fmt: skip
def test_what_fits_no_reading_or_two_is_refused(text, keys, said, written):
    if said is None:
        written(text, **keys)
    else:
        line = refusal(written, text, **keys)
        assert said in line
        assert "d.csv" in line


@pytest.mark.parametrize(
    "keys",
    [
        {"delimiter": "::"},
        {"delimiter": '"'},
        {"delimiter": "é"},
        {"decimal": "x"},
        {"delimiter": ",", "decimal": ","},
        {"features": [0], "ignore": [1]},
        {"test_path": "a.csv", "test_fraction": 0.5},
    ],
)
def test_keys_that_cannot_be_are_refused(keys, config, capsys, tmp_path):
    (tmp_path / "d.csv").write_text("1,2\n3,4\n")
    assert main(["check", config(data={"name": "csv", "path": "d.csv", **keys})]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert (
        f"data.{next(iter(keys))}" in line or "data.ignore" in line or "data.decimal" in line or "data.test_f" in line
    )


def test_columns_are_chosen_by_names_and_numbers(written):
    text = "id,a,b,c,y\n" + "\n".join(f"{j},{j}.5,{j * j},{-j},{j % 2}" for j in range(5, 9))
    expected = [[5.5, 25], [6.5, 36], [7.5, 49], [8.5, 64]]
    for keys in (
        {"features": ["a", "b"]},
        {"features": [1, 2]},
        {"features": ["a", -3]},
        {"ignore": ["id", "c"]},
        {"ignore": [0, 3]},
        {"features": ["a", "b"], "target": "y"},
        {"ignore": [-2, "id"], "target": 4},
    ):
        table = written(text, **keys)
        assert rows(table).tolist() == expected
        assert table.names == ("a", "b")
        assert table.targets.tolist() == [1, 0, 1, 0]
    assert written(text, features=["b", "a"]).names == ("b", "a")
    assert written(WRITTEN["pandas with its index"], features=[0, 1]).names == ("column 1", "a")


GAPS = "a,b,y\n1,2,0\n?,4,1\n3,NA,0\n5,,1\n4,6,1\n"


def test_gaps_are_filled_or_dropped_and_counted(written):
    table = written(GAPS, missing="drop")
    assert rows(table).tolist() == [[1, 2], [4, 6]]
    assert table.read["missing"] == "3 of 5 samples dropped"
    table = written(GAPS, missing="mean")
    assert rows(table).tolist() == [[1, 2], [3.25, 4], [3, 4], [5, 4], [4, 6]]
    assert table.read["missing"] == "3 filled with the feature's mean"
    table = written(GAPS, missing="zero")
    assert rows(table).tolist() == [[1, 2], [0, 4], [3, 0], [5, 0], [4, 6]]
    assert "missing" not in written(WRITTEN["pandas"], missing="mean").read


@pytest.mark.parametrize("marker", ["", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-", "."])
def test_markers_of_missing_values(marker, written):
    assert written(f"a,b\n1,2\n{marker},4\n5,6\n", missing="drop").targets.tolist() == [2, 6]


COLOURS = "size,colour,ok,y\n1,red,True,no\n2,blue,False,yes\n3,red,True,maybe\n"


def test_words_are_coded_one_hot_and_truth_is_a_number(written):
    for keys in ({"categories": "all"}, {"categories": ["colour"]}, {"categories": [1]}):
        table = written(COLOURS, **keys)
        assert table.names == ("size", "colour=blue", "colour=red", "ok")
        assert rows(table).tolist() == [[1, 0, 1, 1], [2, 1, 0, 0], [3, 0, 1, 1]]
        assert table.words == ("maybe", "no", "yes")
        assert table.targets.tolist() == [1, 2, 0]
        assert table.read["categories of colour"] == "blue, red"
    assert written(COLOURS, categories=["size"], ignore=["colour"]).names[:2] == ("size=1", "size=2")
    gap = "size,colour,y\n1,red,1\n2,,2\n3,blue,3\n4,red,4\n"
    assert rows(written(gap, categories="all", missing="zero"))[1].tolist() == [2, 0, 0]
    assert rows(written(gap, categories="all", missing="mean"))[1] == pytest.approx([2, 1 / 3, 2 / 3])


@pytest.mark.parametrize("name", ["pandas, European", "pandas with its index"])
def test_bool_targets_are_words(name, written):
    frame = FRAME.assign(y=[True, False, False, True])
    table = written(frame.to_csv(index=False))
    assert table.words == ("False", "True")
    assert table.targets.tolist() == [1, 0, 0, 1]


def test_words_with_a_hash_are_kept(written):
    text = "a,colour,y\n1,#ff0000,2\n2,C #,3\n# 3,x,4\n4,#ff0000,5\n"
    assert written(text, categories="all").names == ("a", "colour=#ff0000", "colour=C #")
    assert written(text, categories="all").samples == 3


SPECIES = "sl,sw,species\n" + "".join(
    f"{j}.5,{j * j % 7},{('setosa', 'virginica', 'other')[j % 3]}\n" for j in range(24)
)


def test_check_run_and_the_result_say_what_was_read(config, capsys, tmp_path, monkeypatch):
    import xarray

    monkeypatch.chdir(tmp_path)
    Path("iris.csv").write_text(SPECIES)
    data = {"name": "csv", "path": "iris.csv", "intercept": True, "scale": "standard"}
    path = config(data=data, problem={"name": "softmax"}, topology={"name": "ring", "nodes": 2})
    assert main(["check", path]) == 0
    out = capsys.readouterr().out
    assert "# data: labels " in out
    assert "other = 0, setosa = 1, virginica = 2" in out
    assert main(["run", path]) == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first == (
        "mpiqopt: iris.csv: csv, commas between columns; header line 1; target 'species' (column 3); "
        "2 features: sl, sw; "
        "labels other = 0, setosa = 1, virginica = 2"
    )
    with h5py.File("small.h5") as file:
        assert file["data"].attrs["header"] == "line 1"
        assert file["data/features"].asstr()[()].tolist() == ["sl", "sw", "intercept"]
        assert file["data/class"].asstr()[()].tolist() == ["other", "setosa", "virginica"]
    with xarray.open_dataset("small.h5", engine="h5netcdf", group="final") as final:
        assert list(final.coords) == ["coordinate_name"]
        assert final.coordinate_name.values.tolist()[1:4] == ["other:sw", "other:intercept", "setosa:sl"]
        assert final.x.dims == ("node", "coordinate")
    assert main(["run", path, "--overwrite", "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["run", path, "--resume", "--set", "run.iterations=50", "-q"]) == 0
    with h5py.File("small.h5") as file:
        assert file["final/coordinate_name"].asstr()[0] == "other:sl"
        assert file["data/class"].asstr()[2] == "virginica"


def test_words_are_no_numbers_to_predict(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("iris.csv").write_text(SPECIES)
    data, ring = {"name": "csv", "path": "iris.csv"}, {"name": "ring", "nodes": 2}
    path = Path(config(data=data, problem={"name": "least-squares"}, topology=ring)).name
    for command in ("check", "run"):
        assert main([command, path]) == 2
        assert "predicts numbers, but the targets are words (other, setosa, virginica)" in capsys.readouterr().err
    path = config(data=data, problem={"name": "mean"}, topology=ring, algorithm={"name": "dgd", "step_size": 0.1})
    assert main(["run", path, "-q"]) == 0
    path = config(data=data, topology=ring)
    assert main(["check", path]) == 2
    assert "wants two labels, got 3: other, setosa, virginica" in capsys.readouterr().err


def test_a_first_column_that_counts_is_pointed_out(written):
    lines = [f"{j},{j % 3},{j % 2}\n" for j in range(10)]
    table = written("".join(["id,a,y\n", *lines]))
    assert table.names == ("id", "a")
    assert table.read["perhaps an index"] == "column 1 ('id'), which counts (data.ignore = [0] leaves it out)"
    assert "perhaps an index" not in written("".join(["id,a,y\n", *lines[1:], lines[0]])).read


@pytest.mark.parametrize("kind", ["csv", "libsvm"])
def test_files_of_other_kinds_are_called_by_their_names(kind, tmp_path):
    begins = {b"PK\x03\x04": "a zip archive", b"\x28\xb5\x2f\xfd": "compressed by zstd", b"PAR1": "Parquet"}
    for begin, name in begins.items():
        (tmp_path / "d").write_bytes(begin + bytes(range(256)))
        with pytest.raises(UsageError, match=f"is no text but .*{name}"):
            find_member("data", kind)(path=str(tmp_path / "d")).open(0)


def test_samples_are_counted_without_reading_the_table(written):
    for text, keys, count in (
        (WRITTEN["comments"], {}, 4),
        (WRITTEN["spreadsheet"], {}, 4),
        (WRITTEN["R, write.table"], {}, 4),
        (WRITTEN["numpy"], {}, 4),
        (GAPS, {"missing": "drop"}, None),
    ):
        written(text, **keys)
        assert find_member("data", "csv")(path="d.csv", **keys).count() == count


def opened(source) -> Table | None:
    """The table of a file, or None if it is refused in a line."""
    try:
        return source.open(0)
    except UsageError as error:
        line = error_line(f"c.toml: {error}")
    return None if len(line) <= WIDTH else pytest.fail(line)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_tables_are_refused_or_are_what_is_said_of_them(seed, tmp_path, monkeypatch):
    """Bytes flipped, cut and added, fields and lines lost, other encodings; what is taken is read again in Python."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    taken = 0
    for _ in range(150):
        content = damaged(rng, rng.choice([*WRITTEN.values(), GAPS, COLOURS, SPECIES]).encode())
        Path("d.csv").write_bytes(content)
        source = find_member("data", "csv")(path="d.csv", missing=rng.choice(("refuse", "refuse", "drop")))
        table = opened(source)
        if table is None:
            continue
        if source.missing == "refuse" and table.words is None and b'"' not in content:
            taken += 1
            assert by_what_is_said(content, table) == np.column_stack([rows(table), table.targets]).tolist(), content
    assert taken > 5
