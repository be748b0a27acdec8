"""Families of interchangeable parts, found by name.

A family is a folder of the package: a file dropped there is found because the folder is imported when one of the
family's names is first asked for: the file of that name if there is one, else all (they import nothing heavy).
A user's own file, given with ``--plugin``, registers in the same way.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from mpiqopt.errors import UsageError

FOLDERS = {
    "data": "mpiqopt.data",
    "problem": "mpiqopt.problems",
    "regularizer": "mpiqopt.regularizers",
    "topology": "mpiqopt.topologies",
    "algorithm": "mpiqopt.algorithms",
    "compressor": "mpiqopt.compressors",
}
_classes: dict[str, dict[str, type]] = {family: {} for family in FOLDERS}
_imported: set[str] = set()
# The plug-ins that were run, in order: path and source.
plugins: dict[str, bytes] = {}


def register(family: str, name: str) -> Callable[[type], type]:
    """Class decorator: ``name`` in the config's table ``[family]`` means this class."""

    def add(cls: type) -> type:
        known = _classes[family].get(name)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise UsageError(f"{family} {name!r} is registered already, by {known.__module__}.{known.__qualname__}")
        cls.name = name
        _classes[family][name] = cls
        return cls

    return add


def members(family: str) -> dict[str, type]:
    """All classes of a family by name, sorted."""
    import importlib
    import pkgutil

    if family not in _imported:
        package = importlib.import_module(FOLDERS[family])
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        _imported.add(family)
    return dict(sorted(_classes[family].items()))


def find(family: str, name: str) -> type:
    """The class called ``name``. Raises UsageError with the known names, the nearest first."""
    _import_file(family, name.replace("-", "_"))
    if name in _classes[family] and not plugins:  # which may have taken the name of a part that is in another file
        return _classes[family][name]
    known = members(family)
    if name not in known:
        raise UsageError(f"unknown {family} {name!r}{suggestion(name, known)}; known: {', '.join(known)}")
    return known[name]


def _import_file(family: str, name: str) -> None:
    """Import the file of a family that is called ``name``, if there is one."""
    import importlib
    from importlib.util import find_spec

    module = f"{FOLDERS[family]}.{name}"
    if name.isidentifier() and find_spec(module) is not None:
        importlib.import_module(module)


def suggestion(word: str, known) -> str:
    """``" (did you mean 'x'?)"`` for the known word nearest to ``word``, or nothing."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def load_plugin(path: str | Path) -> None:
    """Run a Python file, so that what it registers can be used. Raises UsageError if it cannot be run."""
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"--plugin {path}: no such Python file")
    run_plugin(str(path), path.read_bytes())


def run_plugin(path: str, source: bytes) -> None:
    """Run what a Python file holds, once. Raises UsageError if it cannot be run.

    Not imported by way of the import system, which would leave a __pycache__ beside the user's file.
    """
    if plugins.get(path) == source:
        return
    module = ModuleType(f"mpiqopt_plugin_{Path(path).stem}")
    module.__file__ = path
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, path, "exec"), vars(module))
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"--plugin {path}: {type(error).__name__}: {error}") from error
    plugins[path] = source
