"""Steps and votes of coordination, and frames and bytes by kind: in every delivery, in result files, in ``show``."""

from collections import Counter

import h5py
import numpy as np
import pytest
import xarray
from tools.mailboxes import (
    PIECES_HEARD,
    PROTOCOLS,
    STAGE_HEARD,
    Adversary,
    as_array,
    at_ranks,
    drawn_values,
    kind_of,
    lockstep,
    split,
    topology,
    tries_of,
)
from tools.outputs import assert_equal, records

from mpiqopt.cli import main
from mpiqopt.coordination.lockstep import LockstepCoordination, first_lockstep_effort
from mpiqopt.coordination.mailboxes import MailboxCoordination
from mpiqopt.coordination.protocol import LocalProtocol
from mpiqopt.coordination.traffic import FRAME_KINDS
from mpiqopt.placement.placement import Placement
from mpiqopt.transport.serial import SerialFrames

RECORDED = ("steps", "votes", "frames", "frame_bytes")
protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


class Reader(Adversary):
    """Reads the frames that every rank sends, and counts them by what they look like."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.frames, self.sizes, self.told = [Counter() for _ in self.engines], [Counter() for _ in self.engines], set()

    def run(self, values):
        super().run(values)
        for rank, (engine, wiring) in enumerate(zip(self.engines, self.wirings, strict=True)):
            for b, to in enumerate(wiring.ranks, 1):  # acknowledgements that nobody waits for
                self._count(rank, to, engine.take(b).tobytes())

    def _launch(self, rank, to, frame):
        self._count(rank, to, frame)
        super()._launch(rank, to, frame)

    def _count(self, rank: int, to: int, frames: bytes) -> None:
        for frame in split(self.engines[rank], frames):
            what = self._what(rank, to, frame)
            self.frames[rank][what] += 1
            self.sizes[rank][what] += len(frame)

    def _what(self, rank: int, to: int, frame: bytes) -> str:
        kind = kind_of(frame)
        if kind == 0:  # of the search: link, kind and stage say which it is
            told = rank, to, frame[:3]
            if told in self.told:
                return "repetitions"
            self.told.add(told)
            return "find"
        if kind in (PIECES_HEARD, STAGE_HEARD):
            return "acknowledgements"
        if self.bad and tries_of(frame):
            return "repetitions"
        return "votes" if 1 < kind < PIECES_HEARD else "pieces"


@protocols
@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize(("name", "nodes"), [("ring", 5), ("random-digraph", 6)])
def test_mailboxes_count_what_they_send(name, nodes, bad, protocol):
    """A node a rank, and every frame that leaves it is read."""
    seen = Counter()
    for seed in range(4):
        network = Reader(topology(name, nodes), nodes, protocol, 3, seed, bad=bad)
        network.run(drawn_values(np.random.default_rng(seed), 3, nodes, 3))
        for engine, frames, sizes in zip(network.engines, network.frames, network.sizes, strict=True):
            assert engine.frames[0].tolist() == [frames[kind] for kind in FRAME_KINDS]
            assert engine.frame_bytes[0].tolist() == [sizes[kind] for kind in FRAME_KINDS]
            assert engine.bytes_sent.tolist() == [sum(sizes.values())]
            seen += frames
    only = {"ftqc": ["votes"], "integer-push-sum": ["votes"], "tree": [], "collect": ["find"]}[protocol]
    assert seen.keys() == {"pieces", "acknowledgements", *only, *(["repetitions"] if bad else [])}


@protocols
def test_steps_count_what_they_send(protocol):
    """A node a rank: the bytes of all boxes, those of votes among them."""
    graph = topology("random-digraph", 7)
    places = at_ranks(graph, 7, protocol)
    engines = [lockstep(local, 2) for local in places]
    taken = np.zeros(7, np.int64)
    for rank, engine in enumerate(engines):
        engine.begin(0, np.array([[5 * rank, -3]]))
    steps = [("step", first_lockstep_effort(graph.diameter))] * 3
    for action, times in [*steps, ("flood", graph.diameter)] if engines[0].votes else steps:
        for _ in range(times):
            sent = []
            for rank, (local, engine) in enumerate(zip(places, engines, strict=True)):
                getattr(engine, action)()
                sent += [(to, engine.take(b).copy()) for b, to in enumerate(local.wiring.ranks, 1)]
                taken[rank] += sum(len(frames) for _, frames in sent[-len(local.wiring.ranks) :])
            for to, frames in sent:
                engines[to].receive(as_array(frames.tobytes()))
    counted = np.concatenate([engine.frame_bytes for engine in engines])
    assert counted.sum(axis=1).tolist() == taken.tolist()
    votes = np.concatenate([engine.frames for engine in engines])[:, FRAME_KINDS.index("votes")]
    assert votes.sum() == graph.diameter * len(graph.arcs()) * engines[0].votes


def coordinated(kind: type, protocol: str, calls: int = 3):
    """Traffic of a coordinator after some calls on a grid: a row for each node, and sums by kind."""
    graph = topology("grid", 12)
    arguments = (True,) if kind is MailboxCoordination else ()
    coordination = kind(LocalProtocol.of(protocol, graph, Placement(12), 1), SerialFrames(), *arguments)
    effort, values = 0, np.random.default_rng(2).integers(-50, 50, (calls, 12, 4))
    for call in range(calls):
        effort = coordination.agree(values[call], call, effort).effort
    sent = coordination.sent
    assert coordination.bytes == sent.frame_bytes.sum()
    return graph, sent, dict(zip(FRAME_KINDS, sent.frames.sum(axis=0).tolist(), strict=True))


@protocols
def test_frames_of_lock_step(protocol):
    """Of trees 2 (n - 1) a call; of push-sum one on each link in a step; a vote is D on each link."""
    graph, sent, frames = coordinated(LockstepCoordination, protocol)
    arcs, (votes,), (steps,) = len(graph.arcs()), set(sent.votes.tolist()), set(sent.steps.tolist())
    assert frames["acknowledgements"] == frames["repetitions"] == 0
    assert frames["votes"] == votes * graph.diameter * arcs
    assert (votes >= 3) == (frames["votes"] > 0) == (protocol in ("ftqc", "integer-push-sum"))
    assert (frames["find"] > 0) == (protocol == "collect")
    if protocol in ("tree", "collect"):
        assert (frames["pieces"], steps) == (3 * 2 * 11, 3 * 2 * (graph.diameter if protocol == "collect" else 5))
    if protocol == "integer-push-sum":
        assert frames["pieces"] == steps * arcs == sent.pieces.sum()


@protocols
def test_frames_of_mailboxes(protocol):
    """Nothing is lost: every frame of pieces is acknowledged once, and a vote has 2 D stages."""
    graph, sent, frames = coordinated(MailboxCoordination, protocol)
    (votes,) = set(sent.votes.tolist())
    assert frames["acknowledgements"] == frames["pieces"] > 0 == frames["repetitions"]
    assert frames["votes"] == votes * 2 * graph.diameter * len(graph.arcs())
    assert (votes >= 3) == (protocol in ("ftqc", "integer-push-sum"))
    if protocol in ("tree", "collect"):
        assert sent.steps.tolist() == [3] * 12
    if protocol == "integer-push-sum":
        assert frames["pieces"] == sent.steps @ np.bincount(graph.arcs()[:, 0])


# Result files


def tables(name: str, iterations: int = 8, emulate: dict | None = None, **algorithm) -> dict:
    made = {
        "run": {"iterations": iterations, "seed": 3},
        "data": {"name": "synthetic", "task": "classification", "samples": 83, "features": 5},
        "problem": {"name": "logistic", "l2": 0.1},
        "topology": {"name": "random-digraph", "nodes": 6, "seed": 1},
        "algorithm": {"name": name, **algorithm},
        "record": {"every": 3},
    }
    return made | ({"emulate": emulate} if emulate else {})


LOSSY = {"loss": 0.1, "delay": 1e-4, "delay_distribution": "exponential"}
CASES = {
    "ftqc": {"coordinator": "ftqc"},
    "push-sum": {"coordinator": "integer-push-sum"},
    "tree": {"coordinator": "tree"},
    "collect": {"coordinator": "collect"},
    "mailed-ftqc": {"coordinator": "ftqc", "coordination": "mailboxes"},
    "mailed-collect": {"coordinator": "collect", "coordination": "mailboxes"},
    "lossy-collect": {"coordinator": "collect", "coordination": "mailboxes", "emulate": LOSSY},
    "lossy-ftqc": {"coordinator": "ftqc", "coordination": "mailboxes", "emulate": LOSSY},
    "asynchronous": {"coordinator": "tree", "execution": "asynchronous"},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_kinds_add_up_to_the_recorded_bytes(case, here, config, capsys):
    path = config(**tables("ftqc-dgd", **CASES[case]))
    assert main(["run", path, "-q", "-o", "a.h5"]) == 0
    with xarray.open_dataset("a.h5", engine="h5netcdf") as run:
        assert run.kind.values.tolist() == list(FRAME_KINDS)
        assert run.frames.dims == run.frame_bytes.dims == ("record", "kind")
        assert np.array_equal(run.frame_bytes.sum("kind"), run.bytes)
        assert np.all(run.frames.diff("record").sum("kind") > 0)
        assert float(run.steps[0]) == int(run.votes[0]) == 0
        assert float(run.steps[-1]) >= 1
        assert (int(run.votes[-1]) >= 8) == ("ftqc" in case or case == "push-sum")
        found = {kind for kind in FRAME_KINDS if int(run.frames.sel(kind=kind)[-1])}
        pieces = int(run.frames.sel(kind="pieces")[-1])
    mailed = "mailed" in case or "lossy" in case or case == "asynchronous"
    assert found == {
        "pieces",
        *(["votes"] if "ftqc" in case or case == "push-sum" else []),
        *(["find"] if "collect" in case else []),
        *(["acknowledgements"] if mailed else []),
        *(["repetitions"] if "lossy" in case else []),
    }
    assert main(["show", "a.h5"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"frames: pieces {pieces} (" in shown
    assert "; a round takes " in shown


def test_a_ledger_counts_too(here, config):
    """With a quorum a node takes one step in a call, and nobody votes."""
    path = config(**tables("ftqc-dgd", coordinator="collect", coordination="mailboxes", quorum=0.7))
    assert main(["run", path, "-q", "-o", "a.h5"]) == 0
    with xarray.open_dataset("a.h5", engine="h5netcdf") as run:
        assert np.array_equal(run.frame_bytes.sum("kind"), run.bytes)
        assert np.array_equal(run.steps, run.rounds)
        assert not run.votes.any()
        assert run.frames.sel(kind=["pieces", "acknowledgements", "find"])[-1].min() > 0


RESUMED = {
    "ftqc": ("ftqc-dgd", {"coordinator": "ftqc"}),
    "admm-tree": ("ftqc-admm", {"coordinator": "tree"}),
    "recursive": ("coordinated-prox-gradient", {"estimator": "sr-e", "batch_size": 2, "coordinator": "tree"}),
}


@pytest.mark.parametrize("case", RESUMED)
def test_counts_go_on_when_a_run_does(case, here, config):
    name, algorithm = RESUMED[case]
    path = config(**tables(name, **algorithm))
    assert main(["run", path, "-q", "-o", "whole.h5"]) == 0
    for more in (["--set", "run.iterations=3"], ["--resume", "--set", "run.iterations=6"], ["--resume"]):
        assert main(["run", path, "-q", "-o", "parts.h5", *more]) == 0
    whole = records("whole.h5")
    assert whole.keys() >= set(RECORDED)
    assert_equal(whole, records("parts.h5"))


def test_an_all_reduce_sends_no_frames(here, config, capsys):
    path = config(**tables("ftqc-dgd", coordinator="allreduce"))
    assert main(["run", path, "-q", "-o", "a.h5"]) == 0
    with h5py.File("a.h5") as file:
        assert file["bytes"][-1] > 0
        assert all(not file[name][()].any() for name in RECORDED)
    assert main(["show", "a.h5"]) == 0
    assert "frames: " not in capsys.readouterr().out


def test_push_sum_has_frames_but_no_votes(here, config, capsys):
    path = config(**tables("push-sum", execution="asynchronous", emulate=LOSSY))
    assert main(["run", path, "-q", "-o", "a.h5"]) == 0
    with h5py.File("a.h5") as file:
        assert set(RECORDED) & file.keys() == {"frames", "frame_bytes"}
        assert np.array_equal(file["frame_bytes"][()].sum(axis=1), file["bytes"][()])
        assert np.array_equal(file["nodes/bytes"][()].sum(), file["bytes"][-1])
        assert file["frames"][-1].astype(bool).tolist() == [True, False, True, False, False, True]
    assert main(["show", "a.h5"]) == 0
    assert "a round takes" not in capsys.readouterr().out


def test_gossip_sends_none(here, config):
    tables_of_ring = tables("dgd") | {"topology": {"name": "ring", "nodes": 6}}
    assert main(["run", config(**tables_of_ring), "-q", "-o", "a.h5"]) == 0
    with h5py.File("a.h5") as file:
        assert not {*RECORDED, "kind"} & file.keys()
