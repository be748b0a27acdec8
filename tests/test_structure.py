"""The one-way order of imports, sizes of files, what commands import, and that kernels refuse what they cannot read."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tools.structure import ORDER, PACKAGE


def imported(tree: ast.AST) -> set[str]:
    """Names of the package's top-level modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mpiqopt":
            rest = node.module.split(".")[1:]
            found |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("mpiqopt.")}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    assert own in ORDER, f"{own}: give it a place in ORDER"
    for name in imported(ast.parse(path.read_text())):
        assert ORDER.index(name) <= ORDER.index(own), f"{path.name} imports {name}, which is below it"


def test_mpi_is_called_in_transport_and_the_command_line_only():
    for path in PACKAGE.rglob("*.py"):
        if "mpi4py" in path.read_text():
            assert path.relative_to(PACKAGE).parts[0] in ("transport", "cli"), path


TESTS = Path(__file__).parent


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.stem)
def test_tests_import_no_other_tests(path):
    """What several of them need is in tests/tools/, fixtures in conftest.py."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.startswith(("test_", "conftest"))], path.name


# lines at most, by folder and ending; what a .pyx includes counts by itself
LIMITS = {("mpiqopt", ".py"): 400, ("cython_ext", ".pyx"): 600, ("cython_ext", ".pxi"): 600, ("tests", ".py"): 500}


@pytest.mark.parametrize(("folder", "ending"), LIMITS)
def test_files_are_short(folder, ending):
    lines = {path: path.read_text().count("\n") for path in sorted((TESTS.parent / folder).rglob(f"*{ending}"))}
    assert not {path.name: count for path, count in lines.items() if count > LIMITS[folder, ending]}


def parsed() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text())) for path in sorted(PACKAGE.rglob("*.py"))]


def test_functions_are_short():
    """Lines of bodies without docstrings: half of them are 5 or less, nine of ten 15 or less, all 40 or less."""
    sizes = {}
    for path, tree in parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                body = node.body[ast.get_docstring(node) is not None and len(node.body) > 1 :]
                sizes[f"{path.name}:{node.lineno} {node.name}"] = body[-1].end_lineno - body[0].lineno + 1
    half, nine_tenths = np.percentile(list(sizes.values()), [50, 90])
    assert half <= 5
    assert nine_tenths <= 15
    assert not {name: size for name, size in sizes.items() if size > 40}


def test_docstrings_say_enough():
    """More than a fifth of the lines that are not blank; and no class or function of a module is without one."""
    lines = docstrings = 0
    for path, tree in parsed():
        text = path.read_text().splitlines()
        lines += sum(map(bool, map(str.strip, text)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                said = node.body[0]
                docstrings += sum(map(bool, map(str.strip, text[said.lineno - 1 : said.end_lineno])))
        public = [
            node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_"
        ]
        assert not [node.name for node in public if ast.get_docstring(node) is None], path
    assert docstrings >= 0.22 * lines


def modules_after(arguments: list[str], folder: Path) -> set[str]:
    """All modules that a command has imported when it ends."""
    code = (
        "import sys; from mpiqopt.cli import main; status = main(sys.argv[1:]); "
        "print('MODULES', *sys.modules); sys.exit(status)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=True,
        env={k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI_", "SLURM_"))},
    )  # fmt: skip
    return set(run.stdout.split("MODULES")[1].split())


def test_commands_import_only_what_they_need(config, tmp_path):
    """On a login node nothing touches MPI, and a run on a simple graph starts without the large libraries."""
    path = config()
    large = {"mpi4py", "matplotlib", "sklearn", "scipy", "networkx", "xarray", "pandas"}
    assert not modules_after(["run", path, "-q"], tmp_path) & (large | {"numpy.ma"})
    assert not modules_after(["check", path], tmp_path) & large
    assert not modules_after(["show", "small.h5"], tmp_path) & (large | {"pydantic"})
    assert not modules_after(["list"], tmp_path) & large
    assert not modules_after(["topology", path], tmp_path) & (large - {"networkx", "scipy"})
    assert not modules_after(["plot", "small.h5", "-o", "a.png"], tmp_path) & (large - {"matplotlib"})


def test_kernels_refuse_arrays_that_do_not_fit():
    from mpiqopt._gossip import Mixer
    from mpiqopt._losses import LinearModel

    one, offsets = np.ones(1), np.array([0, 1])
    model = LinearModel("squared", np.ones((1, 3)), one, offsets, features=3)
    with pytest.raises(ValueError, match="x: want 3 values, got 4"):
        model.evaluate(np.ones((1, 4)))
    with pytest.raises(TypeError, match="gradient"):
        model.evaluate(np.ones((1, 3)), np.ones((1, 3), np.float32))
    with pytest.raises(TypeError, match="x: want a C-contiguous"):
        model.evaluate(np.ones((1, 6))[:, ::2])
    with pytest.raises(ValueError, match="offsets"):
        LinearModel("squared", np.ones((1, 3)), one, np.array([0, 2]), features=3)
    with pytest.raises(TypeError, match="counts: want an array"):
        model.evaluate(np.ones((1, 3)), index=np.zeros((1, 1), np.int64))
    for index, counts in (([[1]], [1]), ([[-1]], [1]), ([[0]], [2]), ([[0]], [0])):
        with pytest.raises(IndexError):
            model.evaluate(np.ones((1, 3)), index=np.array(index), counts=np.array(counts))
    with pytest.raises(ValueError, match="classes 0"):
        LinearModel("softmax", np.ones((1, 3)), 2 * one, offsets, features=3, outputs=2)
    with pytest.raises(ValueError, match="outputs = 2"):
        LinearModel("logistic", np.ones((1, 3)), one, offsets, features=3, outputs=2)
    sparse = {"features": 3, "columns": np.array([3], np.int32), "starts": np.array([0, 1])}
    with pytest.raises(ValueError, match="columns: want 0"):
        LinearModel("squared", one, one, offsets, **sparse)
    with pytest.raises(ValueError, match="starts"):
        LinearModel("squared", one, one, offsets, **sparse | {"starts": np.array([0, 2])})
    with pytest.raises(ValueError, match="starts"):
        Mixer(np.array([1, 1]), np.array([0]), one, 0)
    with pytest.raises(ValueError, match="columns"):
        Mixer(np.array([0, 1]), np.array([5]), one, 0)
    mixer = Mixer(np.array([0, 1]), np.array([0]), one, 0)
    with pytest.raises(TypeError):
        mixer.mix(np.ones((1, 2), np.int64), np.ones((0, 2), np.int64), np.ones((1, 2), np.int64))


EXTENSIONS = Path(__file__).parent.parent / "cython_ext"


def test_python_indexing_keeps_pythons_meaning_in_the_extensions():
    """``wraparound=False`` also holds for Python objects: ``starts[-1]`` of one was an IndexError from NumPy 2.5 on.

    Kernels index pointers, to which neither directive applies; so nothing is gained by them, and no file may set them.
    """
    for path in [*EXTENSIONS.glob("*.p[yx]*"), EXTENSIONS.parent / "setup.py"]:
        found = re.search(r"(wraparound|boundscheck)\W{1,4}False", path.read_text())
        assert found is None, f"{path.name}: {found[0]}"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXTENSIONS.glob("*.pyx")), ids=lambda path: path.stem)
def test_cython_compiles_without_a_warning(path, tmp_path):
    directives = ["-3", "-X", "cdivision=True", "-X", "embedsignature=True"]  # as in setup.py
    command = [sys.executable, "-m", "cython", *directives, "-I", EXTENSIONS, path, "-o", tmp_path / "a.c"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
