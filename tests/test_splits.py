"""Samples are divided as a rule says, no node is favoured by its number, and who has what is said."""

from dataclasses import dataclass, field, replace

import h5py
import numpy as np
import pytest
from tools.divisions import counts, three_classes

from mpiqopt.cli import main
from mpiqopt.config.parse import parse
from mpiqopt.data import shares
from mpiqopt.data.dirichlet_splits import dirichlet_split, inner_dirichlet_split
from mpiqopt.data.source import Source, Table
from mpiqopt.data.splits import pathological_split, split_bounds, split_samples
from mpiqopt.errors import UsageError, error_line
from mpiqopt.placement.placement import Placement
from mpiqopt.registry import find_member
from mpiqopt.run.assembly import assemble
from mpiqopt.streams import random_stream
from mpiqopt.transport.serial import SerialTransport

SPLITS = ("contiguous", "iid", "by-label", "dirichlet", "inner-dirichlet", "resource-dirichlet", "pathological")
RARE = np.repeat(np.arange(100.0), 4)


@dataclass(frozen=True, kw_only=True)
class Given(Source):
    """A source of tables that a test has made."""

    table: Table = field(default_factory=lambda: table(np.arange(12.0) % 3))

    def open(self, seed: int) -> Table:
        return self.table


def table(targets: np.ndarray, **fields) -> Table:
    rows = np.arange(2.0 * len(targets)).reshape(-1, 2)
    return Table("given", np.asarray(targets, float), 2, lambda which: rows[which], **fields)


def division(split: str, targets: np.ndarray, nodes: int, seed: int = 0, **keys):
    source = find_member("data", "synthetic")(split=split, **keys)
    stream = random_stream(seed, "split")
    return split_samples(source, np.asarray(targets, float), None, nodes, stream, three_classes(nodes))


@pytest.mark.parametrize("split", SPLITS)
def test_every_sample_goes_to_one_node_and_every_node_gets_one(split):
    targets = np.random.default_rng(1).integers(0, 4, 500).astype(float)
    for seed in range(5):
        found = division(split, targets, 12, seed, alpha=0.1)
        order = np.arange(500) if found.order is None else found.order
        assert np.array_equal(np.sort(order), np.arange(500))
        assert (found.bounds[0], found.bounds[-1], len(found.bounds)) == (0, 500, 13)
        assert np.all(np.diff(found.bounds) >= 1)
    other = division(split, targets, 12, 9, alpha=0.1)
    same = other.order is None or np.array_equal(other.order, order)
    assert same == (split in ("contiguous", "by-label"))


def test_splits_that_were_there_before_have_the_same_bits():
    """But for dirichlet, which was unfair."""
    targets = np.random.default_rng(1).integers(0, 4, 53).astype(float)
    for split, order in (
        ("contiguous", None),
        ("iid", random_stream(3, "split").permutation(53)),
        ("by-label", np.argsort(targets, kind="stable")),
    ):
        found = division(split, targets, 7, 3)
        assert np.array_equal(found.bounds, [i * 53 // 7 for i in range(8)])
        assert found.order is None if order is None else np.array_equal(found.order, order)
    held = shares.load_shares(Given(table=table(targets), test_fraction=0.2), table(targets), Placement(7), 3)
    assert held.test_features[:, 0].tolist() == (2 * np.sort(random_stream(3, "test").permutation(53)[:11])).tolist()


def test_by_label_gives_nodes_few_labels_and_alpha_decides_how_many():
    """Mean number of labels of a node: 10 nodes, 10 labels of 100 samples each."""
    targets = np.tile(np.arange(10.0), 100)

    def labels_per_node(split: str, **keys) -> float:
        return np.count_nonzero(counts(division(split, targets, 10, **keys), targets), axis=1).mean()

    assert labels_per_node("by-label") == 1
    assert labels_per_node("iid") == 10
    for split in ("dirichlet", "inner-dirichlet"):
        assert labels_per_node(split, alpha=0.05) < 5.5 < 9 < labels_per_node(split, alpha=100.0)


def mean_sizes(targets: np.ndarray, nodes: int, alpha: float, seeds: int) -> np.ndarray:
    found = [dirichlet_split(targets, nodes, alpha, random_stream(seed, "split")) for seed in range(seeds)]
    return np.mean([np.diff(each.bounds) for each in found], axis=0)


def test_dirichlet_favours_no_node_by_its_number():
    """Rare labels (100 of 4 samples), and few with nodes that get none: means over seeds are equal up to their noise.

    Of rare labels a node's number deviates by less than sqrt(100 * 0.25) = 5, of the others by less than 8.
    """
    for targets, nodes, alpha, seeds, deviation in (
        (RARE, 8, 100.0, 40, 5),
        (np.repeat([0.0, 1.0], 30), 20, 0.05, 600, 8),
        (np.arange(60.0) % 2, 3, 0.5, 300, 20),
    ):
        mean = mean_sizes(targets, nodes, alpha, seeds)
        assert np.abs(mean - len(targets) / nodes).max() < 3.5 * deviation / np.sqrt(seeds)


def test_dirichlet_of_equal_proportions_is_even():
    """Of each label floor or ceil of m/n at each node: systematic sampling."""
    targets = np.repeat(np.arange(5.0), [4, 10, 83, 1, 16])
    found = counts(dirichlet_split(targets, 8, 1e12, random_stream(0, "split")), targets)
    assert np.all(np.abs(found - np.array([4, 10, 83, 1, 16]) / 8) < 1 + 1e-6)
    for alpha in (1e308, 1e-320, 1e-10):
        assert np.diff(dirichlet_split(RARE, 8, alpha, random_stream(0, "split")).bounds).min() >= 1
    assert np.ptp(np.diff(dirichlet_split(targets, 8, 1e308, random_stream(1, "split")).bounds)) < 8


def test_sizes_are_in_proportion():
    assert np.diff(split_bounds("linear", 360, 8)).tolist() == [10, 20, 30, 40, 50, 60, 70, 80]
    assert np.diff(split_bounds("square", 300, 4)).tolist() == [10, 40, 90, 160]
    e = np.exp(np.arange(4))
    assert np.abs(np.diff(split_bounds("exponential", 10**6, 4)) - 10**6 * e / e.sum()).max() < 1
    assert np.diff(split_bounds([1e308, 1e308, 3e307], 23, 3)).tolist() == [10, 10, 3]
    assert np.array_equal(split_bounds([0.1] * 7, 70, 7), split_bounds("equal", 70, 7))


@pytest.mark.parametrize("split", ["contiguous", "iid", "by-label", "inner-dirichlet", "resource-dirichlet"])
def test_sizes_belong_to_five_splits(split):
    found = division(split, np.arange(90.0) % 3, 4, sizes=[2.0, 1.0, 5.0, 1.0])
    assert np.diff(found.bounds).tolist() == [20, 10, 50, 10]


def test_inner_dirichlet_lets_each_node_draw_its_labels():
    """Labels run out, and none is counted twice; with a large alpha every node has the labels of all."""
    targets = np.repeat([0.0, 1.0, 2.0], [300, 200, 100])
    even = inner_dirichlet_split(targets, split_bounds("equal", 600, 6), 1e6, random_stream(0, "split"))
    assert np.abs(counts(even, targets).sum(axis=0) - [300, 200, 100]).max() == 0
    uneven = counts(
        inner_dirichlet_split(targets, split_bounds("equal", 600, 6), 0.02, random_stream(0, "split")), targets
    )
    assert uneven.max(axis=1).mean() > 70 > counts(even, targets).max(axis=1).mean()
    bounds = split_bounds("equal", 600, 6)
    divisions = [inner_dirichlet_split(targets, bounds, 0.2, random_stream(s, "split")) for s in range(100)]
    sizes = [counts(division, targets)[:, 2] for division in divisions]
    assert np.abs(np.mean(sizes, axis=0) - 100 / 6).max() < 3.5 * 25 / 10


@pytest.mark.parametrize(("nodes", "each", "labels"), [(8, 2, 10), (16, 3, 10), (5, 10, 10), (7, 1, 3), (100, 2, 10)])
def test_pathological_gives_each_node_so_many_labels(nodes, each, labels):
    """And each label floor or ceil of n k/C nodes, which share it equally."""
    targets = np.random.default_rng(0).permutation(np.repeat(np.arange(labels), 40 + np.arange(labels))).astype(float)
    found = counts(pathological_split(targets, nodes, each, random_stream(0, "split")), targets)
    assert np.all(np.count_nonzero(found, axis=1) == each)
    holders = np.count_nonzero(found, axis=0)
    assert {*holders} <= {nodes * each // labels, -(-nodes * each // labels)}
    for column in found.T:
        assert np.ptp(column[column > 0]) <= 1
    sizes = [
        counts(pathological_split(targets, nodes, each, random_stream(s, "split")), targets).sum(axis=1)
        for s in range(40)
    ]
    assert np.abs(np.mean(sizes, axis=0) - len(targets) / nodes).max() < 3.5 * np.std(sizes) / 40**0.5 + 0.5


def check(capsys, config, **tables) -> tuple[int, str, str]:
    status = main(["check", config(**tables)])
    output = capsys.readouterr()
    return status, output.out, output.err


DIGITS, SOFTMAX = {"name": "digits"}, {"name": "softmax"}
NUMBERS, SQUARES = {"name": "diabetes"}, {"name": "least-squares"}
REFUSED = {
    "dirichlet of numbers": (
        {"data": {**NUMBERS, "split": "dirichlet"}, "problem": SQUARES},
        "data.split = 'dirichlet' wants classes, not numbers (214 values): want 'iid' or data.sizes",
    ),
    "inner-dirichlet of synthetic numbers": (
        {"data": {"name": "synthetic", "samples": 4000, "split": "inner-dirichlet"}, "problem": SQUARES},
        "numbers (4000 values): want",
    ),
    "pathological numbers": ({"data": {**NUMBERS, "split": "pathological"}, "problem": SQUARES}, "wants classes"),
    "wrong numbers": (
        {"data": {**NUMBERS, "label_noise": 0.1}, "problem": SQUARES},
        "data.label_noise = 0.1 wants classes, not numbers (214 values)",
    ),
    "too many labels": (
        {"data": {**DIGITS, "split": "pathological", "classes_per_node": 11}, "problem": SOFTMAX},
        "data.classes_per_node = 11: the data have 10 labels; want at most as many",
    ),
    "too few labels": (
        {"data": {**DIGITS, "split": "pathological", "classes_per_node": 1}, "problem": SOFTMAX},
        "data.classes_per_node = 1: 8 nodes hold 8 of 10 labels; want 2 or more",
    ),
    "rare labels": (
        {
            "data": {"name": "iris", "split": "pathological", "test_fraction": 0.5},
            "problem": SOFTMAX,
            "topology": {"name": "ring", "nodes": 70},
        },
        "training samples of label 0 are too few for the 4",
    ),
    "numbers for other nodes": (
        {"data": {**DIGITS, "sizes": [1, 2, 3]}, "problem": SOFTMAX},
        "data.sizes: 3 numbers for topology.nodes = 8 nodes; want one for each",
    ),
    "a size of nothing": (
        {"data": {"name": "iris", "sizes": "exponential"}, "problem": SOFTMAX},
        "data.sizes = 'exponential': node 0 of 8 would hold none of 150 samples",
    ),
    "a negative size": ({"data": {**DIGITS, "sizes": [1, -2]}}, "data.sizes"),
    "nobody named": (
        {"data": {**DIGITS, "split": "natural"}, "problem": SOFTMAX},
        "digits: data.split = 'natural': nothing here names the nodes that samples belong to",
    ),
    "labels that go with devices that are alike": (
        {"data": {**DIGITS, "split": "resource-dirichlet"}, "problem": SOFTMAX, "devices": [{"time": 0.5}]},
        "data.split = 'resource-dirichlet': all devices are alike; want several tables [[devices]]",
    ),
    "all labels wrong": ({"data": {**DIGITS, "label_noise": 1.0}, "problem": SOFTMAX}, "data.label_noise = 1.0: want"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_divided_is_refused(case, config, capsys):
    tables, said = REFUSED[case]
    status, out, err = check(capsys, config, **tables)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert len(err) <= 201


def test_refusals_fit_in_a_line():
    """In a long path, too."""
    source = Given(table=replace(table(np.arange(10**4)), where="measured.csv"), split="inner-dirichlet")
    with pytest.raises(UsageError) as raised:
        shares.load_shares(source, source.open(0), Placement(4), 0)
    line = error_line(f"/data/somebody/{'folder/' * 9}config.toml: {raised.value}")
    assert line.endswith(str(raised.value))


def test_targets_are_classes_if_the_problem_says_so_or_if_they_repeat():
    def load(targets, labelled=False, **fields):
        source = Given(table=table(targets, **fields), split="dirichlet")
        return shares.load_shares(source, source.open(0), Placement(4), 0, labelled)

    assert load(RARE, labelled=True).classes
    assert load(np.arange(40.0) // 2, words=tuple(f"w{i}" for i in range(20))).classes
    assert load(np.arange(100.0) % 10).classes
    with pytest.raises(UsageError, match="100 values"):
        load(RARE)
    assert not shares.load_shares(Given(split="by-label"), table(np.arange(9.0)), Placement(4), 0).classes


NAMED = ("n10", "n2", "n1", "other")


def natural(nodes: int, names=None, rank: int = 0, ranks: int = 1, **keys) -> shares.Shares:
    groups = np.arange(12) % 4
    source = Given(table=table(np.arange(12.0), groups=groups, group_names=NAMED), split="natural", **keys)
    return shares.load_shares(source, source.open(0), Placement(nodes, ranks, rank), 0, False, names)


def test_natural_nodes_hold_what_the_data_say():
    """In the order of names as people count, or by the topology's names; several groups may share a node."""
    held = natural(4)
    assert held.groups == ("n1", "n2", "n10", "other")
    assert held.targets.tolist() == [2, 6, 10, 1, 5, 9, 0, 4, 8, 3, 7, 11]
    by_name = natural(4, ("other", "n10", "n1", "n2"))
    assert by_name.groups == ("other", "n10", "n1", "n2")
    assert by_name.targets.tolist() == [3, 7, 11, 0, 4, 8, 2, 6, 10, 1, 5, 9]
    assert natural(4, ("a", "b", "c", "d")).groups == held.groups
    fewer = natural(3)
    assert fewer.groups == ("n1", "n2", "n10, other")
    assert fewer.sizes.tolist() == [3, 3, 6]
    parts = [natural(4, rank=rank, ranks=2).targets for rank in range(2)]
    assert np.concatenate(parts).tolist() == held.targets.tolist()


def test_natural_nodes_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"the data name only 4 nodes; want topology\.nodes <= that, got 5"):
        natural(5)
    with pytest.raises(UsageError, match="both name 'n1', but the topology has no 'n10'"):
        natural(4, ("n1", "n2", "x", "other"))
    with pytest.raises(UsageError, match=r"data\.split = 'natural': node . of 4 would hold none of 2 samples"):
        natural(4, test_fraction=0.85)


def test_wrong_labels_are_other_labels_of_training_samples():
    """About p of them, any of the others; held-out samples keep theirs, and what is held out changes none."""
    targets = np.arange(6000.0) % 4
    plain, noisy = (
        shares.load_shares(
            Given(table=table(targets), label_noise=p, split="by-label"), table(targets), Placement(5), 7
        )
        for p in (0.0, 0.25)
    )
    changed = plain.targets != noisy.targets
    assert plain.noisy == 0
    assert noisy.noisy == changed.sum() == pytest.approx(1500, abs=100)
    assert np.array_equal(plain.features, noisy.features)
    shifts = np.bincount((noisy.targets[changed] - plain.targets[changed]).astype(int) % 4, minlength=4)
    assert shifts[0] == 0
    assert np.all(np.abs(shifts[1:] - 500) < 80)
    part = shares.load_shares(
        Given(table=table(targets), label_noise=0.25, test_fraction=0.5), table(targets), Placement(5), 7
    )
    assert np.array_equal(part.test_targets, targets[(part.test_features[:, 0] / 2).astype(int)])
    of_all = np.empty(6000)
    of_all[(noisy.features[:, 0] / 2).astype(int)] = noisy.targets
    assert np.array_equal(part.targets, of_all[(part.features[:, 0] / 2).astype(int)])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("keys", [{}, {"label_noise": 0.3, "test_fraction": 0.3}])
def test_ranks_hold_what_one_would(split, keys):
    """Whether each reads for itself or rank 0 hands out the parts."""
    source = Given(table=table(np.arange(90.0) % 3), split=split, **keys)
    devices = three_classes(7)
    whole = shares.load_shares(source, source.table, Placement(7), 5, devices=devices)
    for ranks in (2, 3, 7):
        places = [Placement(7, ranks, rank) for rank in range(ranks)]
        own = [shares.load_shares(source, source.table, place, 5, devices=devices) for place in places]
        dealt = [shares.cut_shares(whole, Placement(7, ranks, rank)) for rank in range(ranks)]
        for name in ("features", "targets", "test_features", "test_targets"):
            for parts in (own, dealt):
                assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
        for one, other in zip(own, dealt, strict=True):
            assert np.array_equal(one.offsets, other.offsets)
            assert np.array_equal(one.test_offsets, other.test_offsets)
            assert (one.noisy, one.held_out) == (other.noisy, other.held_out) == (whole.noisy, whole.held_out)
        assert np.array_equal(np.concatenate([shares.label_counts(part) for part in own]), shares.label_counts(whole))


SEEDED = """
data = {name = "breast-cancer", split = "iid", scale = "standard", test_fraction = 0.2, label_noise = 0.1}
problem.name = "logistic"
topology = {name = "ring", nodes = 4}
algorithm = {name = "proxgt-sa", batch_size = 8}
"""


@pytest.mark.parametrize("changes", [(), ("data.name=synthetic", "data.task=classification", "run.start=normal")])
def test_data_and_run_have_seeds_of_their_own(changes):
    def made(*words):
        return assemble(parse(SEEDED, "s.toml", (*changes, *words)), SerialTransport())

    one, other, run, data = (
        made(*words)
        for words in (
            ("run.seed=1",),
            ("run.seed=1", "data.seed=1"),
            ("run.seed=2", "data.seed=1"),
            ("run.seed=1", "data.seed=2"),
        )
    )
    first = one.evaluate(one.start)
    assert first == other.evaluate(other.start)
    assert run.evaluate(one.start) == first
    assert np.array_equal(run.start, one.start) == (not changes)
    assert data.evaluate(one.start).objective != first.objective or not changes
    assert data.evaluate(one.start).stationarity != first.stationarity
    assert np.array_equal(data.start, one.start)
    assert np.array_equal(one.streams.batch(0, 8).index, data.streams.batch(0, 8).index)
    assert not np.array_equal(one.streams.batch(0, 8).index, run.streams.batch(0, 8).index)


def test_check_says_what_nodes_hold(config, capsys):
    """A line each; of many nodes who has most and fewest; of many labels how many; no line wider than asked."""
    iris = {"name": "iris", "split": "by-label", "test_fraction": 0.2, "label_noise": 0.1}
    _, out, _ = check(capsys, config, data=iris, problem=SOFTMAX, topology={"name": "ring", "nodes": 4})
    lines = out.partition("# training samples of the nodes\n")[2].splitlines()
    assert [line.split()[1] for line in lines] == ["node", "0", "1", "2", "3"]
    numbers = np.array([line.split()[1:] for line in lines[1:]], int)
    assert np.array_equal(numbers[:, 1], numbers[:, 2:].sum(axis=1))
    assert numbers[:, 1].tolist() == [30] * 4
    assert "#   held out" in out
    assert "with wrong labels" in out
    _, out, _ = check(capsys, config, data=DIGITS, problem=SOFTMAX, topology={"name": "ring", "nodes": 17})
    lines = out.partition("# training samples of the nodes\n")[2].splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["samples", *map(str, range(10))]
    assert lines[1].split()[2:] == ["105", "(node", "0)", "106", "106", "(node", "16)"]
    numbers = {"name": "synthetic", "samples": 90}
    _, out, _ = check(capsys, config, data=numbers, problem=SQUARES, topology={"name": "ring", "nodes": 3})
    assert out.endswith("#   node  samples\n#      0       30\n#      1       30\n#      2       30\n")


def test_many_labels_are_counted_and_tables_are_as_wide_as_asked():
    from mpiqopt.analysis.node_samples import NodeSamples, node_table

    held = NodeSamples(np.array([2, 3]), np.eye(2, 13, dtype=int), [str(i) for i in range(13)], [])
    assert node_table(held, None).splitlines() == [
        "node  samples  of 13 labels",
        "   0        2             1",
        "   1        3             1",
    ]
    words = NodeSamples(
        np.array([2, 3]), np.ones((2, 6), int), [f"a long name {i}" for i in range(6)], ["St. Mary's", "n"]
    )
    lines = node_table(words, 50, "# ").splitlines()
    assert max(map(len, lines)) <= 50
    assert sum("a long name" in line for line in lines) >= 3
    assert "St. Mary's" in lines[1]


def test_the_result_file_and_a_figure_say_it_too(config, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = config(data={**DIGITS, "split": "dirichlet", "test_fraction": 0.1, "label_noise": 0.1}, problem=SOFTMAX)
    assert main(["run", path, "-q", "--set", "run.iterations=1"]) == 0
    assert main(["run", path, "-q", "--resume", "--set", "run.iterations=2"]) == 0
    experiment = assemble(parse((tmp_path / "small.toml").read_text(), "small.toml"), SerialTransport())
    with h5py.File("small.h5") as file:
        data = file["data"]
        assert np.array_equal(data["samples"], experiment.shares.sizes)
        assert np.array_equal(data["counts"], shares.label_counts(experiment.shares))
        assert np.array_equal(data["counts"][()].sum(axis=1), data["samples"])
        assert data["class"][()].tolist() == list(range(10))
        assert (data.attrs["held_out"], data.attrs["wrong_labels"]) == (180, experiment.shares.noisy)
    for name in ("small.h5", path):
        assert main(["plot", "--data", name, "-o", f"{len(name)}.png"]) == 0
    one, other = (tmp_path / f"{len(name)}.png" for name in ("small.h5", path))
    assert one.read_bytes() == other.read_bytes()
    assert main(["plot", "--data", "small.h5", path, "-o", "a.png"]) == 2
    with h5py.File("small.h5", "a") as file:
        del file["data"]
    assert main(["plot", "--data", "small.h5", "-o", "a.png"]) == 2
    assert "does not say what nodes hold" in capsys.readouterr().err


def test_figures_of_what_nodes_hold():
    """Bars of labels, or of all samples for numbers; names of groups; areas for many nodes; many labels by colour."""
    from mpiqopt.analysis.node_samples import NodeSamples, _figure

    counts = np.array([[3, 1], [0, 2]])
    figure = _figure(NodeSamples(counts.sum(axis=1), counts, ["yes", "$no$"], ["St. Mary's", "$x_{"]))
    (axes,) = figure.axes
    assert [(bar.get_y(), bar.get_height()) for bar in axes.patches] == [(0, 3), (0, 0), (3, 1), (0, 2)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["yes", "$no$"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["St. Mary's", "$x_{"]
    (axes,) = _figure(NodeSamples(np.array([5, 7]), None, [], [])).axes
    assert [bar.get_height() for bar in axes.patches] == [5, 7]
    many = _figure(NodeSamples(np.full(300, 25), np.ones((300, 25), int), [str(i) for i in range(25)], []))
    assert len(many.axes[0].collections) == 25
    assert "25 labels" in many.axes[0].get_title()
