"""Messages of gossip that a coder makes shorter: the same vectors, and bytes that are those that travel."""

import re

import h5py
import numpy as np
import pytest

from mpiqopt._message_coder import MessageCoder, take_pieces
from mpiqopt.analysis.compressors import measure_compressors, named_compressor
from mpiqopt.cli import main
from mpiqopt.compressors.codec import Codec
from mpiqopt.compressors.entropy_coded import CODERS
from mpiqopt.compressors.qsgd import QSGD
from mpiqopt.compressors.shortener import Shortener
from mpiqopt.compressors.uniform import Uniform
from mpiqopt.compressors.zoom_in import ZoomIn

GRIDS = [
    lambda coder: QSGD(levels=7, coder=coder, block_size=0),
    lambda coder: QSGD(levels=127, coder=coder),
    lambda coder: QSGD(levels=3000, coder=coder, block_size=100),
    lambda coder: Uniform(step=0.3, bits=4, coder=coder),
    lambda coder: Uniform(step=0.01, bits=12, coder=coder),
    lambda coder: Uniform(step=1.0, bits=1, kind="mid-riser", coder=coder),
    lambda coder: Uniform(step=0.5, kind="mid-riser", coder=coder, block_size=64),
    lambda coder: ZoomIn(coder=coder, bits=6),
]
LEAD = {
    "run": {"iterations": 12},
    "topology": {"name": "erdos-renyi", "nodes": 7},
    "data": {"name": "synthetic", "samples": 83, "features": 600, "task": "classification"},
    "algorithm": {"name": "lead"},
    "compressor": {"name": "qsgd"},
}


def coded(**more) -> dict:
    """LEAD with further keys of the compressor."""
    return {**LEAD, "compressor": {**LEAD["compressor"], **more}}


def sent(codec: Codec, rows: np.ndarray) -> np.ndarray:
    return codec.encode(rows, np.arange(len(rows)), 3).copy()


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("d", [1, 2, 3, 64, 513, 640, 1026, 3000])
def test_messages_come_back_to_the_bit(grid, coder, d):
    """All of them, or some in any order; their sizes are told, and are what tiles need at most."""
    rng = np.random.default_rng(d)
    rows = rng.standard_normal((4, d))
    rows[1] = 0  # a scale of 0
    codec = Codec(grid(coder), d, rows.dtype, 0, 4)
    messages, shortener, some = sent(codec, rows), Shortener(codec), np.array([3, 1, 2])
    shorter = shortener.shorten(messages)
    restored, sizes = np.full((3, codec.nbytes), 85, np.uint8), np.empty(3, np.int64)
    stream = shorter.of(some)
    shortener.restore(stream, restored, sizes)
    assert np.array_equal(restored, messages[some])
    assert np.array_equal(sizes, shorter.sizes[some])
    assert stream.size == sizes.sum()
    assert (sizes <= codec.nbytes + codec.blocks * (7 + d // 1024)).all()


@pytest.mark.parametrize("coder", CODERS)
def test_levels_near_zero_take_fewer_bits(coder):
    """Half a step as deviation: 1.4 bits of entropy instead of 8."""
    rows = 0.5 * np.random.default_rng(0).standard_normal((2, 4096))
    codec = Codec(Uniform(step=1.0, coder=coder, rounding="nearest"), 4096, rows.dtype, 0, 2)
    most = {"tile": 3.1, "rice": 1.6, "range": 1.42}[coder]
    assert 8 * Shortener(codec).shorten(sent(codec, rows)).sizes.max() < most * 4096


@pytest.mark.parametrize("coder", range(3))
def test_damaged_messages_do_no_harm(coder):
    """They are refused, or mean another message; what is missing is always noticed."""
    layout, rng = MessageCoder(700, 5, 15, True, coder), np.random.default_rng(coder)
    messages = np.zeros((1, layout.nbytes), np.uint8)
    QSGD(levels=15, block_size=0).kernel.encode(rng.standard_normal((1, 700)), messages, np.ones(1, np.uint64))
    ends, out = np.empty(1, np.int64), np.zeros((3, layout.nbytes), np.uint8)
    stream = layout.shorten(messages, ends).copy()
    refused = 0
    for _ in range(300):
        broken = stream.copy()
        broken[rng.integers(len(stream), size=3)] = rng.integers(0, 256, 3)
        try:
            layout.restore(broken, out[1:2], ends)
        except ValueError:
            refused += 1
    assert refused
    assert not out[[0, 2]].any()
    for size in (0, 3, 4, len(stream) - 1):
        with pytest.raises(ValueError, match="is damaged"):
            layout.restore(stream[:size].copy(), out[1:2], ends)


def test_what_is_no_message_is_refused():
    with pytest.raises(ValueError, match="there are no such messages"):
        MessageCoder(10, 17, 0, True, 0)
    with pytest.raises(ValueError, match="there are no such messages"):
        MessageCoder(10, 4, 16, True, 0)
    with pytest.raises(ValueError, match="want numbers below 2"):
        take_pieces(np.zeros(4, np.uint8), np.array([1, 4]), np.array([2]))
    with pytest.raises(ValueError, match="ends: want"):
        take_pieces(np.zeros(4, np.uint8), np.array([1, 5]), np.array([0]))


def columns(path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][:] for name in ("objective", "bytes", "mpi_bytes")}


@pytest.mark.mpi
@pytest.mark.parametrize("compressor", [{"name": "qsgd"}, {"name": "uniform", "step": 0.1}, {"name": "zoom-in"}])
def test_bytes_are_those_that_travel_on_any_number_of_ranks(compressor, config, mpiqopt, tmp_path):
    """The trajectory is that without a coder; with a node on each rank MPI gets the bytes that nodes send."""
    table = {**LEAD, "compressor": compressor}
    assert mpiqopt("run", config(**table), "-q", "-o", "plain.h5").returncode == 0
    plain = columns(tmp_path / "plain.h5")
    table["compressor"] = {**compressor, "coder": "range"}
    for ranks in (0, 3, 7):
        assert mpiqopt("run", config(**table), "-q", "-o", f"{ranks}.h5", ranks=ranks).returncode == 0
    alone, three, each = (columns(tmp_path / f"{ranks}.h5") for ranks in (0, 3, 7))
    for run in (alone, three, each):
        assert np.array_equal(run["objective"], plain["objective"])
        assert np.array_equal(run["bytes"], alone["bytes"])
    assert (alone["bytes"][1:] < 0.9 * plain["bytes"][1:]).all()
    assert len(set(np.diff(alone["bytes"]))) > 1
    assert np.array_equal(each["mpi_bytes"], each["bytes"])
    assert 0 < three["mpi_bytes"][-1] < three["bytes"][-1]
    assert alone["mpi_bytes"][-1] == 0


@pytest.mark.mpi
def test_a_continued_run_counts_on(config, mpiqopt, tmp_path):
    whole, parts = coded(coder="rice"), {**coded(coder="rice"), "run": {"iterations": 5}}
    assert mpiqopt("run", config(**whole), "-q", "-o", "whole.h5").returncode == 0
    assert mpiqopt("run", config(**parts), "-q", "-o", "parts.h5", ranks=2).returncode == 0
    assert mpiqopt("run", config(**whole), "-q", "-o", "parts.h5", "--resume", ranks=3).returncode == 0
    whole, parts = columns(tmp_path / "whole.h5"), columns(tmp_path / "parts.h5")
    assert parts["bytes"][-1] == whole["bytes"][-1]
    assert parts["objective"][-1] == whole["objective"][-1]


def test_check_predicts_the_bytes_of_an_iteration(config, capsys, tmp_path, monkeypatch):
    """Within 15 %, and says that they vary."""
    monkeypatch.chdir(tmp_path)
    path = config(**coded(coder="range"))
    assert main(["check", path]) == 0
    said = capsys.readouterr().out
    each, unit = re.search(r"bytes per iteration +([\d.]+) (k?)B from node to node", said).groups()
    predicted = float(each) * (1000 if unit else 1)
    assert re.search(r"coded message .* bits a coordinate; on its way .* if its values are normal: it varies", said)
    assert main(["run", path, "-q", "-o", "a.h5"]) == 0
    assert columns("a.h5")["bytes"][-1] / 12 == pytest.approx(predicted, rel=0.15)


def test_compress_bench_counts_what_travels():
    names = ("qsgd", *(f"qsgd,coder={coder}" for coder in CODERS))
    bits = [row.bits for row in measure_compressors([named_compressor(name) for name in names], 20_000, "float64", 2)]
    assert bits == sorted(bits, reverse=True)
    assert bits[-1] < 5 < 8 < bits[0]


@pytest.mark.parametrize("algorithm", ["qsgd-sgd", "ef-sgd", "fedavg", "hierarchical-fedavg"])
def test_servers_refuse_coders(algorithm, config, capsys):
    table = {**coded(coder="rice"), "algorithm": {"name": algorithm}, "topology": {"name": "star", "nodes": 7}}
    assert main(["check", config(**table)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "compressor.coder = 'rice'" in line
    assert "want 'none'" in line
    assert len(line) <= 200


def test_unknown_coders_are_named(config, capsys):
    assert main(["check", config(**coded(coder="huffman"))]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "compressor.coder" in line
    assert "'range'" in line
