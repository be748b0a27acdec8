"""The worked examples (``>>>``) in docstrings print what they say.

Every module of ``mpiqopt`` and of ``cython_ext`` that has an example is one test here, found by itself: write the
example, run ``pytest tests/test_examples.py -k NAME_OF_THE_MODULE``. An example

* runs with the names of its own module at hand, in an empty folder, so that it may write files by a bare name; it
  still imports what a reader who copies it would have to import;
* prints the same with every release of NumPy: end lines with ``.tolist()``, ``round(float(x), 3)`` or ``print(...)``,
  never with a bare NumPy scalar (``np.float64(0.5)`` since NumPy 2) or an array (its spacing changes);
* may leave out part of what is printed as ``...``, and break it in lines at any blank.
"""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# not a shift of bits in the middle of a line
EXAMPLE = re.compile(r"^ *>>> ", re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    """Return the import names of the modules whose text has a ``>>>``; no other module is imported."""
    python = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "mpiqopt").rglob("*.py")}
    compiled = {f"mpiqopt._{path.stem}": path for path in (ROOT / "cython_ext").glob("*.pyx")}
    named = {name.removesuffix(".__init__"): path for name, path in {**python, **compiled}.items()}
    return sorted(name for name, path in named.items() if EXAMPLE.search(path.read_text()))


def marked(name: str):
    """Return a module's name as a parameter of the test; examples of networks need PyTorch."""
    return pytest.param(name, marks=[pytest.mark.torch] * name.startswith("mpiqopt.neural."))


@pytest.mark.parametrize("name", [marked(name) for name in modules_with_examples()])
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    if name.startswith("mpiqopt.neural"):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    found = [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]
    assert found, f"{name}: its examples stand where doctest does not look (a nested function, a comment)"
    said: list[str] = []
    for test in found:
        doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(test, out=said.append)
    assert not said, "".join(said)
