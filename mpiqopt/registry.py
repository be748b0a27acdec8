"""Families of interchangeable parts, found by name.

A family is a folder of the package: a file dropped there is found because the folder is imported when one of the
family's names is first asked for: the file of that name if there is one, else all (they import nothing heavy).
A user's own file, given with ``--plugin``, registers in the same way.

>>> find_member("regularizer", "l1").__name__
'L1'
>>> [name for name in family_members("regularizer") if "l1" in name]
['group-l1', 'l1']
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import fields
from inspect import isabstract
from pathlib import Path
from types import ModuleType
from typing import Any

from mpiqopt.errors import LINE, UsageError, brief_error, quote_in_error

FOLDERS = {
    "data": "mpiqopt.data",
    "problem": "mpiqopt.problems",
    "regularizer": "mpiqopt.regularizers",
    "topology": "mpiqopt.topologies",
    "algorithm": "mpiqopt.algorithms",
    "compressor": "mpiqopt.compressors",
    "coordinator": "mpiqopt.coordination.protocols",
}
# What a part of a family inherits from: module and class, imported where a plug-in is looked at.
BASES = {
    "data": ("mpiqopt.data.source", "Source"),
    "problem": ("mpiqopt.problems.loss", "Loss"),
    "regularizer": ("mpiqopt.regularizers.regularizer", "Regularizer"),
    "topology": ("mpiqopt.topologies.graph", "AnyGraph"),
    "algorithm": ("mpiqopt.algorithms.algorithm", "Algorithm"),
    "compressor": ("mpiqopt.compressors.compressor", "Compressor"),
    "coordinator": ("mpiqopt.coordination.protocol", "CoordinationProtocol"),
}
# Where it is set, errors in plug-ins come with their traceback.
TRACEBACK = "MPIQOPT_TRACEBACK"
_classes: dict[str, dict[str, type[Any]]] = {family: {} for family in FOLDERS}
_imported: set[str] = set()
# The plug-ins that were run, in order: path and source.
plugins: dict[str, bytes] = {}


def register(family: str, name: str) -> Callable[[type[Any]], type[Any]]:
    """Return a class decorator after which ``name`` in the config's table ``[family]`` means the class.

    Parameters
    ----------
    family: a key of ``FOLDERS``, such as "algorithm" or "compressor".
    name: without spaces, not yet taken in the family; becomes the class attribute ``name``.

    Raises
    ------
    UsageError: the family does not exist, the name is taken, or the class cannot be a part: it is not derived from the
        family's base class, lacks a method, or is no dataclass although it has annotated keys.
    """
    if family not in FOLDERS:
        raise UsageError(
            f"register({family!r}, {name!r}): unknown family{suggest_word(str(family), FOLDERS)}; "
            f"families: {', '.join(FOLDERS)}"
        )

    def add(cls: type[Any]) -> type[Any]:
        """Register the class, and return it with its ``name``."""
        if not _is_ours(cls):
            _require_part(family, name, cls)
        known = _classes[family].get(name)
        if known is not None and _place(known) != _place(cls):
            raise UsageError(
                f"{family} {name!r} is there already, by {_place(known)}: {_place(cls)} wants another name"
            )
        if vars(cls).get("name", name) != name:
            raise UsageError(f"{_place(cls)} has the name {cls.name!r} already: derive another class for {name!r}")
        cls.name = name
        _classes[family][name] = cls
        return cls

    return add


def _is_ours(cls: Any) -> bool:
    """Return True if a class is defined in the package and not in a plug-in."""
    return getattr(cls, "__module__", "").startswith("mpiqopt.")


def _file_of(cls: type[Any]) -> str | None:
    """Return the file that a class is defined in, None if its module has none."""
    return getattr(sys.modules.get(cls.__module__), "__file__", None)


def _place(cls: type[Any]) -> str:
    """Return where a class is defined: a module of the package, or a file."""
    return f"{cls.__qualname__} of {(None if _is_ours(cls) else _file_of(cls)) or cls.__module__}"


def _derives(cls: Any, base: type[Any]) -> bool:
    """Return True for classes that derive from ``base``."""
    return isinstance(cls, type) and issubclass(cls, base)


def _require_part(family: str, name: str, cls: Any) -> None:
    """Raise UsageError unless a class from elsewhere can be a part; after this all names of the package are known."""
    import importlib

    where = f"register({family!r}, {name!r})"
    if not (isinstance(name, str) and name and name.isprintable() and name.split() == [name]):
        raise UsageError(f"{where}: want a name without spaces, such as 'my-{family}'")
    module, base = BASES[family]
    if not _derives(cls, getattr(importlib.import_module(module), base)):
        raise UsageError(f"{where}: {getattr(cls, '__name__', cls)} is no class derived from {module}.{base}")
    if isabstract(cls):
        lacking = ", ".join(f"{method}()" for method in sorted(cls.__abstractmethods__))
        raise UsageError(f"{where}: class {cls.__name__} lacks {lacking}")
    lost = [key for key in vars(cls).get("__annotations__", ()) if key not in cls.__dataclass_fields__]
    if lost:
        raise UsageError(
            f"{where}: class {cls.__name__} is no dataclass, so {lost[0]!r} is no key: write "
            "@dataclass(frozen=True, kw_only=True) between @register and the class"
        )
    if any(field.name == "name" for field in fields(cls)):
        raise UsageError(f"{where}: class {cls.__name__} has a field 'name', which is a key of every table")
    family_members(family)


def family_members(family: str) -> dict[str, type[Any]]:
    """Return all classes of a family by name, sorted; imports the family's folder.

    Classes of plug-ins that were run are among them.
    """
    import importlib
    import pkgutil

    if family not in _imported:
        package = importlib.import_module(FOLDERS[family])
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        _imported.add(family)
    return dict(sorted(_classes[family].items()))


def find_member(family: str, name: str) -> type[Any]:
    """Return the class called ``name``, importing no more than its own file where that is called the same.

    Raises UsageError with the known names, the nearest first.
    """
    _import_file(family, name.replace("-", "_"))
    if name in _classes[family]:
        return _classes[family][name]
    known = family_members(family)
    if name not in known:
        raise UsageError(f"unknown {family} {name!r}{suggest_word(name, known)}; known: {', '.join(known)}")
    return known[name]


def require_member(key: str, family: str, name: str) -> None:
    """Raise UsageError, which names the key of a config, unless a family has a part called ``name``."""
    _import_file(family, name.replace("-", "_"))
    if name not in _classes[family]:
        known = family_members(family)
        raise UsageError(
            f"{key} = {quote_in_error(name)}: unknown{suggest_word(name, known)}; known: {', '.join(known)}"
        )


def _import_file(family: str, name: str) -> None:
    """Import the file of a family that is called ``name``, if there is one."""
    import importlib
    from importlib.util import find_spec

    module = f"{FOLDERS[family]}.{name}"
    if name.isidentifier() and find_spec(module) is not None:
        importlib.import_module(module)


def suggest_word(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known word nearest to ``word``, or "".

    >>> suggest_word("gradient-trackin", ["gradient-tracking", "nids"])
    " (did you mean 'gradient-tracking'?)"
    """
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def load_plugin(path: str | Path) -> None:
    """Run a Python file, so that what it registers can be used.

    Raises UsageError if it cannot be read or run, or if a field of a class has a type that no config can be checked
    for. A file that was run already, also by another path, is not run again.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UsageError(f"--plugin {path}: {'is a folder' if path.is_dir() else 'no such Python file'}")
        source = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"--plugin {path}: {getattr(error, 'strerror', None) or error}") from error
    if any(_is_same(path, source, other) for other in plugins):
        return
    run_plugin(str(path), source)
    try:
        _require_keys(str(path))
    except UsageError:
        _forget(str(path))
        raise


def _is_same(path: Path, source: bytes, other: str) -> bool:
    """Return True if a plug-in is there already, by another way to write its path."""
    return plugins[other] == source and os.path.realpath(path) == os.path.realpath(other)


def run_plugin(path: str, source: bytes) -> None:
    """Run the source of a Python file once, on every rank alike.

    Parameters
    ----------
    path: as given; names the plug-in in errors and is the ``__file__`` of its module. source: the file's bytes.

    Raises UsageError if it cannot be run. Not imported by way of the import system, which would leave a __pycache__
    beside the user's file.
    """
    if plugins.get(path) == source:
        return
    _forget(path)
    module = ModuleType(_module_of(path))
    module.__file__ = path
    sys.modules[module.__name__] = module
    plugins[path] = source
    try:
        exec(compile(source, path, "exec"), vars(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit, too
        _forget(path)
        if wants_traceback():
            traceback.print_exception(error)
        where, line = f"--plugin {path}: ", _line_of(error, path)
        said = str(error) if isinstance(error, UsageError) else brief_error(error, LINE - len(where + line))
        raise UsageError(where + said + line) from error


def _module_of(path: str) -> str:
    """Return a name for a plug-in's module: classes are handed to other ranks by it, so no two plug-ins share one."""
    stem = f"mpiqopt_plugin_{Path(path).stem}"
    return next(name for name in (stem, *(f"{stem}_{k}" for k in range(len(plugins)))) if name not in sys.modules)


def _forget(path: str) -> None:
    """Take back what a plug-in has registered, if it was run."""
    for family, cls in registered_by(path):
        del _classes[family][cls.name]
    for name in [name for name, module in sys.modules.items() if name.startswith("mpiqopt_plugin_")]:
        if sys.modules[name].__file__ == path:
            del sys.modules[name]
    plugins.pop(path, None)


def registered_by(path: str) -> list[tuple[str, type[Any]]]:
    """Return family and class of everything that the plug-in ``path`` has registered."""
    return [(family, cls) for family, classes in _classes.items() for cls in classes.values() if _file_of(cls) == path]


def _require_keys(path: str) -> None:
    """Raise UsageError if no config could be checked against a plug-in's classes: the type of a field is wrong.

    On rank 0 alone, which checks configs: others do without the library for it.
    """
    from mpiqopt.field_checks import pydantic_model

    for _, cls in registered_by(path):
        try:
            pydantic_model(cls)  # type: ignore[arg-type]  # a class is hashable
        except Exception as error:  # whatever a type's own code raises
            where = f"--plugin {path}: types of the fields of class {cls.__name__}: "
            raise UsageError(where + brief_error(error, LINE - len(where))) from error


def _line_of(error: BaseException, path: str) -> str:
    """Return ``" (line n)"``, the last line of a plug-in that an error came through, or nothing."""
    if isinstance(error, SyntaxError):  # says it itself
        return ""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == path]
    return f" (line {lines[-1]})" if lines else ""


def wants_traceback() -> bool:
    """Return True if the user asked for the tracebacks of errors in plug-ins."""
    return os.environ.get(TRACEBACK, "0") not in ("", "0")


def explain_plugin_error(error: BaseException) -> str:
    """Return one line that says in which plug-in, and where in it, an error came up; "" if none is to blame.

    Where plug-ins are used but none was running, what one has returned may be wrong: ``mpiqopt test`` checks that.
    Prints the traceback, too, where the user asked for it.
    """
    message = place_in_plugin(error)
    if not message and plugins:
        where = f" (--plugin {', '.join(plugins)}: {_notes(error)}see mpiqopt test FILE, or {TRACEBACK}=1)"
        message = brief_error(error, LINE - len(where)) + where
    if message and wants_traceback():
        traceback.print_exception(error)
    return message


def place_in_plugin(error: BaseException) -> str:
    """Return an error with file, function and line of the plug-in whose code raised it; "" if none did."""
    frames = [
        (frame.f_code, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename in plugins
    ]
    if not frames:
        return ""
    code, line = frames[-1]
    where = f" (--plugin {code.co_filename}: {_notes(error)}{code.co_qualname}, line {line})"
    return brief_error(error, LINE - len(where)) + where


def _notes(error: BaseException) -> str:
    """Return what was added to an error on its way, such as the iteration."""
    return "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
