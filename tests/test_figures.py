"""Figures: what they show of runs that differ, diverge or have arrived, and the files that they become."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from tools.commands import TIMEOUT, command, environment
from tools.representatives import slow
from tools.trajectories import write

from mpiqopt.analysis.figures import KINDS, figure_path, matplotlib_defaults, save_figure
from mpiqopt.analysis.labels import run_labels
from mpiqopt.analysis.plots import plot_runs
from mpiqopt.cli import main
from mpiqopt.errors import UsageError
from mpiqopt.results.reader import read_result

FALLING = 0.5 ** np.arange(20)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def drawn(here, monkeypatch):
    """Plot files without writing the figure; returns it, and what was said."""
    figures = []
    save = Figure.savefig

    def keep(self, *arguments, **settings):
        figures.append(self)
        save(self, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", keep)

    def draw(*paths: str) -> tuple[Figure, list[str]]:
        notes = plot_runs([read_result(path) for path in paths], "a.png")
        return figures[-1], notes

    return draw


def axes_of(figure: Figure, quantity: str):
    """The first panel of a quantity."""
    (found,) = (axes for axes in figure.axes if axes.get_ylabel().startswith(quantity))
    return found


def entries(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


DIVERGED = {
    "huge": [1.0, *10.0 ** np.arange(10, 310, 16)],
    "infinite": [1.0, 1e3, 1e6, np.inf, np.inf],
    "nan": [1.0, np.nan],
    "below": [1.0, -1e10, -1e300],
    "said": [1.0, 1e4],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DIVERGED)
def test_a_diverged_run_leaves_the_axes_to_the_others(kind, drawn):
    """With it they are hardly higher than without it, and the others are where they were."""
    good = [write(f"{step}.h5", 2 + FALLING**step, given={"algorithm": {"step_size": step}}) for step in (0.5, 1.0)]
    reason = "diverged at iteration 20: nodes are ever further apart" if kind == "said" else "iterations: done"
    bad = write("bad.h5", DIVERGED[kind], reason, given={"algorithm": {"step_size": 9.0}})
    (alone, _), (figure, notes) = drawn(*good), drawn(bad, *good)
    for quantity in ("objective", "stationarity", "consensus"):
        (low, high), (lowest, highest) = (np.log10(axes_of(f, quantity).get_ylim()) for f in (alone, figure))
        assert highest - high < 0.3 * max(high - low, 2)
        assert low - lowest < 0.3 * max(high - low, 2)
        pairs = zip(axes_of(alone, quantity).lines, axes_of(figure, quantity).lines[1:], strict=True)
        for before, after in pairs if kind != "below" else ():
            assert np.array_equal(before.get_ydata(), after.get_ydata(), equal_nan=True)
    assert "bad.h5 diverged" in notes[0]


@pytest.mark.slow
def test_one_run_alone_may_diverge(drawn):
    for name, values in DIVERGED.items():
        figure, _ = drawn(write(f"{name}.h5", values))
        assert np.isfinite(axes_of(figure, "objective").get_ylim()).all()


def test_a_run_that_has_arrived_has_no_holes(drawn):
    """Zeros between other values are drawn low, those at the end below the axes; before the first there is nothing."""
    values = np.array([0, 0, 1.0, 0.1, 0, 0.01, 0, 0.1, 0, 0])
    figure, _ = drawn(write("a.h5", values + 1, stationarity=values, consensus=values))
    for quantity in ("stationarity", "consensus"):
        axes = axes_of(figure, quantity)
        seen = axes.lines[0].get_ydata()
        assert np.isnan(seen[:2]).all()
        assert seen[2:8].tolist() == [1.0, 0.1, 0.01, 0.01, 0.01, 0.1]
        assert (seen[8:] > 0).all()
        assert (seen[8:] < axes.get_ylim()[0]).all()
    assert np.isnan(axes_of(figure, "objective").lines[0].get_ydata()[:2]).all()


def test_what_is_zero_throughout_is_said(drawn):
    nothing, something = write("nothing.h5", FALLING, consensus=0 * FALLING), write("something.h5", FALLING)
    figure, notes = drawn(nothing)
    assert [text.get_text() for text in axes_of(figure, "consensus").texts] == ["nothing above 0"]
    figure, notes = drawn(nothing, something)
    assert axes_of(figure, "consensus").get_yscale() == "log"
    assert notes == ["consensus of nothing.h5: no finite value above 0, which the logarithmic axis could show"]


@pytest.mark.parametrize("records", [1, 2])
def test_runs_with_few_records_are_drawn(records, drawn):
    """One is a dot; axes of what was not counted do not go below zero."""
    figure, _ = drawn(write("a.h5", FALLING[:records]))
    line = axes_of(figure, "stationarity").lines[0]
    assert (line.get_marker() == "o") == (records == 1)
    for axes in figure.axes[-4:]:
        assert axes.get_xlim()[0] > -0.1 or records > 1
    figure, _ = drawn("a.h5", write("b.h5", 3 + FALLING))
    assert len(axes_of(figure, "objective").lines) == 2


def test_values_without_neighbours_are_dots(drawn):
    values = np.array([1.0, np.nan, 0.5, 0.4, np.nan, 0.3])
    figure, _ = drawn(write("a.h5", values + 1, stationarity=values))
    assert axes_of(figure, "stationarity").lines[0].get_markevery() == [0, 5]


def test_runs_of_different_problems_have_their_own_best(drawn):
    """And those of one problem one in common, wherever their data were."""
    ours = {"algorithm": {"step_size": 0.3}, "data": {"name": "npz", "path": "a.npz"}}
    moved = {"algorithm": {"step_size": 0.2}, "data": {"name": "npz", "path": "../there/a.npz"}}
    other = {"problem": {"name": "least-squares"}, "data": {"name": "npz", "path": "a.npz"}}
    paths = [write("a.h5", 1 + FALLING, given=ours), write("b.h5", 1.5 + FALLING, given=moved)]
    figure, notes = drawn(*paths, write("c.h5", 70 + FALLING, given=other))
    starts = [line.get_ydata()[0] for line in axes_of(figure, "objective").lines]
    assert starts == pytest.approx([1, 1.5, 1], abs=1e-5)
    assert notes == ["2 different problems: objectives are drawn above the best seen of each"]
    assert drawn(*paths)[1] == []


@pytest.mark.slow
def test_drawn_data_of_other_seeds_are_other_problems(drawn):
    for data, count in (({"name": "synthetic"}, 2), ({"name": "digits"}, 1), ({"test_fraction": 0.1}, 2)):
        runs = [write(f"{seed}.h5", FALLING + seed, given={"data": data, "run": {"seed": seed}}) for seed in (0, 1)]
        assert len(drawn(*runs)[1]) == count - 1


LABELS = [
    ([{"algorithm": {"step_size": 0.1}}, {"algorithm": {"step_size": 0.01}}], ["step_size = 0.1", "step_size = 0.01"]),
    (
        [{"algorithm": {"step_size": 0.1 + 0.2}, "run": {"seed": 1}}, {"run": {"seed": 2}}],
        ["step_size = 0.3, seed = 1", "step_size = 0.1, seed = 2"],
    ),
    ([{"algorithm": {"name": "nids"}}, {}], ["nids", "dgd"]),
    ([{"topology": {"name": "star"}}, {"topology": {"nodes": 9}}], ["star, nodes = 4", "ring, nodes = 9"]),
    ([{"compressor": {"name": "qsgd"}}, {"compressor": {"name": "eden"}}], ["compressor = qsgd", "compressor = eden"]),
    ([{"run": {"seed": 1}, "topology": {"seed": 0}}, {"topology": {"seed": 0}}], ["run.seed = 1", "run.seed = 0"]),
    ([{"algorithm": {"chebyshev": True}}, {}], ["chebyshev = true", "no chebyshev"]),
    ([{"algorithm": {"name": "proxgt", "gossip_rounds": 2}}, {}], ["proxgt", "dgd"]),
    ([{"run": {"iterations": 7}, "algorithm": {"name": "d2"}}, {}], ["d2", "dgd"]),
    ([{"run": {"iterations": 7}}, {"run": {"iterations": 70}}], ["iterations = 7", "iterations = 70"]),
    ([{"checkpoint": {"every_seconds": 3.0}}, {}], ["0.h5", "1.h5"]),
    ([{}, {}], ["0.h5", "1.h5"]),
    (
        [{"algorithm": {"step_size": 1.0}}, {}, {}],
        ["step_size = 1", "step_size = 0.1 (1.h5)", "step_size = 0.1 (2.h5)"],
    ),
]


@pytest.mark.parametrize(("given", "said"), LABELS)
def test_labels_say_what_differs(given, said, here):
    results = [read_result(write(f"{number}.h5", FALLING, given=tables)) for number, tables in enumerate(given)]
    common, names = run_labels(results)
    assert names == said
    assert ("dgd" in common) == all(tables.get("algorithm", {}).get("name", "dgd") == "dgd" for tables in given)


def test_defaults_that_nobody_gave_are_no_difference(config, here):
    """ef-sgd codes its messages unless told otherwise; that is no second difference."""
    for name in ("ef-sgd", "dgd"):
        assert main(["run", config(algorithm={"name": name}), "-q", "-o", f"{name}.h5"]) == 0
    assert run_labels([read_result("ef-sgd.h5"), read_result("dgd.h5")]) == ("ring 8", ["ef-sgd", "dgd"])


def test_files_of_one_name_are_told_apart_by_their_folders(here):
    for folder in ("a", "b"):
        write(Path(folder, "r.h5"), FALLING)
    assert run_labels([read_result("a/r.h5"), read_result("b/r.h5")])[1] == ["a/r.h5", "b/r.h5"]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "long"), [(1, True), (7, False), (13, True), (60, False)])
def test_legends_are_whole_and_cover_nothing(count, long, drawn):
    name = "a-name-that-is-much-too-long-for-any-legend-" * (4 if long else 0)
    figure, _ = drawn(*(write(f"{name}{number}.h5", FALLING + number) for number in range(count)))
    assert len(entries(figure)) == len({(str(line.get_color()), line.get_linestyle()) for line in figure.axes[0].lines})
    figure.draw_without_rendering()  # in other dots per inch than the file
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    for axes in figure.axes:
        assert axes.get_window_extent().y1 <= box.y0
        assert axes.get_window_extent().height > 0.2 * 7 * figure.dpi


@pytest.mark.parametrize("name", [r"\alpha $\frac", "\udcff\x1b\n", *slow("$x_1$", "$", "a_b^c", "日本語", "🙂 {} %")])
def test_names_are_drawn_as_they_are(name, here, capfd):
    """No formula, no warning about glyphs, no error; fonts that have them are taken where there are some."""
    for number in range(2):
        write(f"{name}{number}.h5", FALLING + number)
    assert main(["plot", f"{name}0.h5", f"{name}1.h5", "-o", "a.png"]) == 0
    assert imread("a.png").std() > 0.05
    assert capfd.readouterr().err == ""


def test_a_font_that_has_the_characters_is_taken(here):
    """One that the STIX fonts have, which come with matplotlib, and its usual one has not."""
    import matplotlib
    from matplotlib.font_manager import findfont

    from mpiqopt.analysis.figures import _characters, use_fonts_for

    with matplotlib_defaults():
        use_fonts_for(["dgd", "é"])
        assert matplotlib.rcParams["font.family"] == ["sans-serif"]
        rare = chr(min(_characters(findfont("STIXGeneral")) - _characters(findfont("DejaVu Sans")) - set(range(256))))
        use_fonts_for([rare])
        usual, other = matplotlib.rcParams["font.family"]
        assert ord(rare) in _characters(findfont(other))
        assert usual == "DejaVu Sans"
        use_fonts_for(["\U0010fffd"])  # nobody has it


# where figures go

ALLOWED = ", ".join(KINDS)


def draw_small(name: str) -> None:
    """Save a figure of one line."""
    with matplotlib_defaults():
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([1, 2])
        save_figure(figure, name)


@pytest.mark.parametrize("ending", KINDS)
def test_the_ending_says_the_format(ending, here):
    for name in (f"a{ending}", f"b{ending.upper()}"):
        for _ in range(2):  # the second replaces the first
            draw_small(name)
    assert sorted(os.listdir()) == sorted([f"a{ending}", f"b{ending.upper()}"])


@pytest.mark.parametrize(
    ("ending", "begins"),
    [
        (".svg", b"<?xml"),
        pytest.param(".png", b"\x89PNG", marks=pytest.mark.slow),
        pytest.param(".pdf", b"%PDF", marks=pytest.mark.slow),
    ],
)
def test_plots_become_files_of_the_format(ending, begins, here):
    write("a.h5", FALLING)
    assert main(["plot", "a.h5", "-o", f"a{ending}"]) == 0
    assert Path(f"a{ending}").read_bytes().startswith(begins)


def commands(path: str) -> list[list[str]]:
    """All commands that draw."""
    return [["plot", "a.h5"], ["topology", path], ["compress-bench", "identity", "--size", "10", "--repeat", "1"]]


@pytest.mark.parametrize("name", ["figure", "a.gif", "a.", ".png", "a.png/", "", "a.pgf", "a.h5", "small.toml", "."])
def test_other_endings_are_refused(name, config, here, capsys):
    path = config()
    write("a.h5", FALLING)
    before = {each.name: each.read_bytes() for each in here.iterdir()}
    for words in commands(path):
        assert main([*words, "-o", name]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert ALLOWED in error
    assert before == {each.name: each.read_bytes() for each in here.iterdir()}


@pytest.mark.parametrize("source", ["a.h5", "small.toml", "notes.txt", "graph.graphml", "old.jpg"])
@pytest.mark.parametrize("link", [os.symlink, os.link, None])
def test_what_is_no_figure_stays(source, link, config, here, capsys):
    """An input or anything else, by whatever name."""
    path = config()
    write("a.h5", FALLING)
    Path("notes.txt").write_text("not a figure")
    Path("graph.graphml").write_text('<?xml version="1.0"?><graphml><graph/></graphml>')
    Path("old.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    content = Path(source).read_bytes()
    for ending in (".png", ".svg"):
        target = Path(f"x{ending}")
        link(source, target) if link else target.write_bytes(content)
        for words in commands(path):
            for name in (str(target), f"./{target}", f"../{here.name}/{target}"):
                assert main([*words, "-o", name]) == 2
                error = capsys.readouterr().err
                assert error.count("\n") == 1
                assert f"is a file that is no {ending[1:].upper()} figure" in error
        assert Path(source).read_bytes() == target.read_bytes() == content


def test_links_to_figures_are_followed(here):
    """The link stays one, and what it leads to is replaced, with its permissions; an empty file is as good as none."""
    os.mkdir("there")
    Path("there", "empty.png").touch(0o640)
    os.symlink("there/empty.png", "a.png")
    os.symlink("there/new.png", "b.png")
    for name in ("a.png", "b.png"):
        draw_small(name)
        assert Path(name).is_symlink()
        assert Path(name).read_bytes().startswith(b"\x89PNG")
    assert Path("there", "empty.png").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir("there")) == ["empty.png", "new.png"]


def test_where_nothing_can_be_written_is_said(here, capsys):
    """Before anything is drawn, and nothing is made on the way."""
    write("a.h5", FALLING)
    os.mkdir("folder.png")
    os.mkfifo("fifo.png")
    os.symlink("loop.png", "loop.png")
    before = sorted(os.listdir())
    for name in (
        "new/and/newer/a.png",
        "a.h5/b.png",
        "folder.png",
        "fifo.png",
        "loop.png",
        f"{'x' * 300}.png",
        "/dev/null/a.png",
    ):
        assert main(["plot", "a.h5", "-o", name]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "cannot write there" in error
    assert sorted(os.listdir()) == before


def test_a_figure_is_whole_or_not_there(here, monkeypatch):
    """Where the disk is full, the figure from before stays, and nothing is left beside it."""
    draw_small("a.png")
    before = Path("a.png").read_bytes()

    def full(path, content):
        with open(path, "wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match=r"-o a\.png: cannot write there: No space left on device"):
        draw_small("a.png")
    assert Path("a.png").read_bytes() == before
    assert os.listdir() == ["a.png"]


def test_compress_bench_refuses_before_it_measures(here, monkeypatch):
    monkeypatch.setattr("mpiqopt.analysis.compressors.measure_compressors", lambda *_: pytest.fail("measured"))
    assert main(["compress-bench", "-o", "a.gif"]) == 2
    with pytest.raises(UsageError, match="want the name of a file that ends in"):
        figure_path("a.gif")


# whatever the user's settings are

ODD = """
text.usetex: True
backend: TkAgg
figure.dpi: 1000
savefig.bbox: tight
font.family: nonsense
axes.formatter.use_locale: True
no.such.key: 1
lines.linewidth: thick
"""


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """A result, a config, and the figures of both as they are with no settings at all."""
    import tomli_w

    folder = tmp_path_factory.mktemp("usual")
    write(folder / "a.h5", FALLING)
    tables = {"data": {"name": "synthetic"}, "problem": {"name": "least-squares"}, "algorithm": {"name": "dgd"}}
    (folder / "c.toml").write_text(tomli_w.dumps(tables | {"topology": {"name": "directed-ring", "nodes": 5}}))
    return folder, figures(folder, folder)


def figures(inputs: Path, folder: Path, **variables: str | None) -> list[bytes]:
    """The two figures, drawn in a folder with these environment variables, None: without."""
    given = environment() | {name: value for name, value in variables.items() if value is not None}
    drawn = []
    for words in (["plot", inputs / "a.h5"], ["topology", inputs / "c.toml"]):
        run = subprocess.run(
            command(*map(str, words), "-o", "figure.png"),
            cwd=folder,
            env={name: value for name, value in given.items() if variables.get(name, "") is not None},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert (run.returncode, run.stderr) == (0, ""), run.stderr
        drawn.append((folder / "figure.png").read_bytes())
        (folder / "figure.png").unlink()
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "TkAgg", "DISPLAY": None},
        {"MPLBACKEND": "nonsense", "DISPLAY": ":99"},
        {"MPLCONFIGDIR": "/dev/null"},
        {"HOME": None, "DISPLAY": None},
        {"HOME": "/dev/null", "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None},
        {"PYTHONWARNINGS": "error"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    ],
    ids=lambda variables: ",".join(variables),
)
def test_figures_do_not_depend_on_the_environment(variables, usual, tmp_path):
    assert figures(usual[0], tmp_path, **variables) == usual[1]


@pytest.mark.slow
@pytest.mark.parametrize("content", [ODD.encode(), bytes(range(256)) * 10], ids=["odd", "broken"])
@pytest.mark.parametrize("where", ["folder", "MATPLOTLIBRC", "MPLCONFIGDIR"])
def test_figures_do_not_depend_on_settings_of_matplotlib(where, content, usual, tmp_path):
    """Nor on styles of the user, in the folder that has the settings."""
    (tmp_path / "matplotlibrc").write_bytes(content)
    (tmp_path / "stylelib").mkdir()
    (tmp_path / "stylelib" / "own.mplstyle").write_bytes(content)
    assert figures(usual[0], tmp_path, **({} if where == "folder" else {where: str(tmp_path)})) == usual[1]


def test_figures_in_a_notebook_do_not_depend_on_its_settings_and_leave_them(here):
    """Where matplotlib is there already, with settings of its own."""
    import matplotlib

    write("a.h5", FALLING)
    assert main(["plot", "a.h5", "-o", "a.png"]) == 0
    with matplotlib.rc_context({"text.usetex": True, "figure.dpi": 1000, "font.family": "nonsense"}):
        assert main(["plot", "a.h5", "-o", "b.png"]) == 0
        assert matplotlib.rcParams["text.usetex"]
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
