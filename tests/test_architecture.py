"""docs/architecture.md describes the tree as it is: packages in the order of imports, and paths that exist."""

import re
from pathlib import Path

from tools.structure import ORDER, PACKAGE

from mpiqopt.network.coordinators import Coordinators
from mpiqopt.network.gossip import Gossip
from mpiqopt.network.server import Server

ROOT = PACKAGE.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
NAMED = re.findall(r"^\| `(\w+)` \|", PAGE.partition("\n## The way")[0], re.M)


def test_packages_are_named_in_the_order_of_imports():
    """A new one gets a row of the page's table, where it stands in ORDER."""
    assert tuple(NAMED) == ORDER


def test_every_package_exists():
    """And none is missing on the page."""
    there = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name[0] not in "_." and is_code(path)}
    assert there == set(NAMED)


def is_code(path: Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").exists()


def test_paths_exist():
    """In quotes from the root; in the way of a vector inside the package, or of cython_ext."""
    quoted = re.findall(r"`((?:mpiqopt|cython_ext|tests|docs)/[\w./]*)`", PAGE)
    way = re.findall(r"\b([a-z_]+/\w+\.\w+)", PAGE.partition("## The way of a vector")[2].partition("\n## ")[0])
    assert len(quoted) > 10
    assert len(way) > 10
    for path in [*quoted, *(path if path.startswith("cython_ext/") else f"mpiqopt/{path}" for path in way)]:
        assert (ROOT / path).exists(), path


def test_names_to_register_with_exist():
    """`NAME` in `path`: the word stands in the file."""
    found = re.findall(r"`(\w+)` in `([\w./]+)`", PAGE)
    assert found
    for name, path in found:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), f"{name} in {path}"


def test_functions_of_the_network_exist():
    """network.PART.FUNCTION on the page."""
    parts = {"gossip": Gossip, "server": Server, "coordination": Coordinators}
    found = re.findall(r"network\.(gossip|server|coordination)\.(\w+)", PAGE)
    assert {part for part, _ in found} == parts.keys()
    for part, function in found:
        assert hasattr(parts[part], function), f"network.{part}.{function}"
