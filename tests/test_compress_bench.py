"""``mpiqopt compress-bench``, what ``check`` says of compression, and runs that cannot encode a vector."""

import re

import h5py
import pytest
from matplotlib.image import imread

from mpiqopt.analysis.compressors import all_compressors, measure_compressors, named_compressor
from mpiqopt.cli import main
from mpiqopt.errors import UsageError
from mpiqopt.registry import family_members


def test_every_compressor_is_measured(capsys, tmp_path):
    """Table and figure name all of them."""
    figure = tmp_path / "a.png"
    assert main(["compress-bench", "--size", "3000", "--repeat", "1", "-o", str(figure)]) == 0
    out = capsys.readouterr().out
    for name in family_members("compressor"):
        assert re.search(rf"^ {name} +│", out, re.M), name
    assert imread(figure).std() > 0.02


@pytest.mark.parametrize("size", ["0", "9" * 18, "9" * 30, "9" * 5000])
def test_sizes_that_cannot_be_are_one_line(size, capsys):
    assert main(["compress-bench", "sign", "--size", size, "--repeat", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "size" in line
    assert len(line) <= 200


def test_errors_are_within_their_bounds():
    """On normal variables; means of 7 draws over 20,000 coordinates are within a few per cent of their expectation."""
    rows = list(measure_compressors(all_compressors(), 20_000, "float64", 7))
    assert all(row.error <= 1.1 * row.bound + 1e-12 for row in rows if row.bound is not None)
    assert [row.label for row in rows] == list(family_members("compressor"))


def test_settings_are_given_after_the_name():
    label, compressor = named_compressor("eden,bits=3,block_size=64")
    (row,) = measure_compressors([(label, compressor)], 640, "float32", 1)
    assert (row.label, row.bits) == ("eden,bits=3,block_size=64", 3 + 32 / 64)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("edne", "did you mean 'eden'"),
        ("eden,bits", "'bits': want KEY=VALUE"),
        ("eden,bits=9", "compressor.bits = 9: want less than or equal to 4"),
        ("eden,size=9", "compressor.size: unknown key"),
    ],
)
def test_wrong_names_and_settings(word, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        named_compressor(word)


def test_check_compares_bytes_with_and_without(config, capsys):
    """LEAD on a ring of 8: 16 directed links, one round, d = 7; 56 bytes without, 4 + 7 with 8 bits a value."""
    assert main(["check", config(algorithm={"name": "lead"}, compressor={"name": "qsgd"})]) == 0
    out = capsys.readouterr().out
    assert re.search(r"bytes per iteration +176 B from node to node", out)
    assert re.search(r"without compression +896 B from node to node, .* 5\.09 times as many", out)
    assert re.search(r"coded message +11 B, 12\.57 bits a coordinate", out)


DIVERGING = {
    "run": {"iterations": 10**5},
    "data": {"name": "synthetic", "samples": 83, "features": 7},
    "problem": {"name": "least-squares", "l2": 0.1},
    "algorithm": {"name": "choco-sgd", "step_size": 1e30, "gossip_step": 0.5},
    "compressor": {"name": "qsgd"},
    "record": {"every": 10**5},
}


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [0, 3])
def test_what_cannot_be_encoded_ends_the_run(ranks, config, mpiqopt, tmp_path):
    """Node and iteration are named in one line, on one rank of three too; the file is whole."""
    result = mpiqopt("run", config(**DIVERGING), "-o", "a.h5", ranks=ranks)
    assert result.returncode == 1
    assert re.search(r"iteration \d+: node \d cannot encode its vector: a value is NaN, infinite", result.stderr)
    assert "Traceback" not in result.stderr
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["iteration"][0] == 0


def test_seconds_of_coding_are_recorded_beside_bytes(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coded = {"algorithm": {"name": "lead"}, "compressor": {"name": "qsgd"}}
    assert main(["run", config(**coded), "-q", "-o", "a.h5"]) == 0
    with h5py.File("a.h5") as file:
        assert 0 < file["codec_time"][-1] < file["time"][-1]
        assert file["codec_time"].attrs["units"] == "s"


@pytest.mark.parametrize("algorithm", ["gradient-tracking", "lead", "proxgt-sr-e", "choco-sgd"])
def test_no_seconds_of_coding_where_nothing_is_coded(algorithm, config, tmp_path, monkeypatch):
    """Methods that could code send vectors as they are unless a compressor is named."""
    monkeypatch.chdir(tmp_path)
    assert main(["run", config(algorithm={"name": algorithm}), "-q", "-o", "b.h5"]) == 0
    with h5py.File("b.h5") as file:
        assert "codec_time" not in file
