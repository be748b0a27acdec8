"""The one place where a config is checked: TOML text -> frozen dataclasses, or one line that says what is wrong."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from mpiqopt import registry
from mpiqopt.algorithms.algorithm import Algorithm
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.data.source import Source
from mpiqopt.emulation.settings import Emulate
from mpiqopt.errors import (
    LINE,
    LONG_PATH,
    QUOTED,
    UsageError,
    Wrong,
    WrongKeys,
    clipped,
    fits,
    listing,
    naming,
    quoted,
)
from mpiqopt.field import Field, only, unless
from mpiqopt.files.inputs import require_file
from mpiqopt.problems.loss import Loss
from mpiqopt.registry import suggestion
from mpiqopt.regularizers.regularizer import Regularizer
from mpiqopt.topologies.topology import Topology, topology_in_turn

if TYPE_CHECKING:
    from mpiqopt.topologies.graph import AnyGraph


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run as a whole."""

    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of everything that is drawn")] = 0
    iterations: Annotated[int, Field(ge=0, description="iterations to do")] = 1000
    time_limit: Annotated[
        float | None,
        Field(gt=0, description="seconds after which the run stops with a checkpoint (exit status 75)"),
    ] = None
    tolerance: Annotated[
        float | None,
        Field(gt=0, description="the run is finished when a record is at most this; of what, says tolerance_on"),
    ] = None
    tolerance_on: Annotated[
        Literal["nodes", "mean"],
        Field(
            description="nodes: stationarity + L^2 consensus, L the largest smoothness constant of a node (the paper's "
            "criterion, up to a factor); mean: stationarity of the mean iterate alone",
            needs=(
                unless("tolerance", None),
                only("algorithm.common_point", False, "nodes share one point"),
            ),
        ),
    ] = "nodes"
    stop_accuracy: Annotated[
        float | None, Field(gt=0, le=1, description="the run is finished when the recorded accuracy is at least this")
    ] = None
    stop_gap: Annotated[
        float | None, Field(gt=0, description="the run is finished when objective - optimum is at most this")
    ] = None
    optimum: Annotated[
        float | None, Field(description="for stop_gap: the smallest value of F + h, from a longer run or a solver")
    ] = None
    stop_bytes: Annotated[
        float | None,
        Field(gt=0, description="the run is finished when nodes have sent so many bytes, at the next record"),
    ] = None
    dtype: Annotated[Literal["float64", "float32"], Field(description="type of iterates and messages")] = "float64"
    transport: Annotated[
        Literal["auto", "window", "two-sided"],
        Field(
            description="of coordination by mailboxes: one-sided MPI windows or two-sided messages; auto: windows "
            "within a host if a short measurement finds that they do not wait for ranks that compute, else messages",
            needs=(only("algorithm.tolerates_loss", True, "no mailboxes are used"),),
        ),
    ] = "auto"
    start: Annotated[
        str,
        Field(
            description="zero; normal: one draw from N(0, I/d) for all nodes; an earlier result file, whose mean of "
            "/final/x is the start; or a .npy file, (d,) for all nodes or (nodes, d) with a row for each"
        ),
    ] = "zero"

    def __post_init__(self):
        if (self.stop_gap is None) != (self.optimum is None):
            given, lacking = ("stop_gap", "optimum") if self.optimum is None else ("optimum", "stop_gap")
            raise UsageError(f"run.{given} = {getattr(self, given)!r}: wants run.{lacking}, too")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is measured on the way."""

    every: Annotated[
        int, Field(ge=1, description="iterations between records (the first and last are recorded too)")
    ] = 10
    mapping_step: Annotated[float, Field(gt=0, description="step of the gradient mapping in /stationarity")] = 1.0
    per_node: Annotated[
        bool,
        Field(
            description="record /criterion, (1/n) sum |s(x_i)|^2 + L^2 consensus, at the price of n global gradients"
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Insurance against the queue."""

    every_seconds: Annotated[float, Field(gt=0, description="seconds between checkpoints")] = 60.0


PLAIN_TABLES = {"run": Run, "record": Record, "checkpoint": Checkpoint, "emulate": Emulate}
FAMILY_TABLES = ("data", "problem", "regularizer", "topology", "algorithm", "compressor")
SINGLE_TABLES = tuple(family for family in FAMILY_TABLES if family != "topology")
# Keys that are files, which are relative to the config
PATHS = ("path", "test_path")
# Values of run.start that are not the name of a result file.
DRAWN_STARTS = ("zero", "normal")
# Keys of [run] that say when it is over: longer runs of the same are its continuation, also of one that is finished.
ENDS = ("iterations", "tolerance", "tolerance_on", "stop_accuracy", "stop_gap", "optimum", "stop_bytes")
# What may differ between a run and its continuation.
FREE_ON_RESUME = (
    ("run", "time_limit"),
    ("checkpoint", "every_seconds"),
    ("record", "every"),
    *(("run", key) for key in ENDS),
)
# how a result file begins
HDF5_BEGINS = b"\x89HDF\r\n\x1a\n"
# bytes of a config at most
LONGEST = 1 << 24
# What people type on the command line, of which TOML knows other forms or none.
WORDS = {"True": "true", "False": "false"}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Config(NamedTuple):
    """A checked config. ``text``: as run, overrides included; ``tables``: the parsed TOML.

    path: of the file that it was read from, for messages; folder: what the paths in it are relative to.
    """

    path: str
    text: str
    tables: dict[str, Any]
    folder: str
    run: Run
    record: Record
    checkpoint: Checkpoint
    emulate: Emulate
    data: Source
    problem: Loss
    regularizer: Regularizer
    algorithm: Algorithm
    compressor: Compressor

    @property
    def graphs(self) -> "tuple[AnyGraph, ...]":
        """The graphs, made of ``tables``: ranks that are handed a topology do without."""
        listed = self.tables.get("topology", {})
        return tuple(_member("topology", table, self.folder) for table in _listed({}, listed))

    def files(self) -> list[str]:
        """The files beside the config that it names and that rank 0 reads for all: graphs, and the start."""
        start = [] if self.run.start in DRAWN_STARTS else [self.start_file]
        return [graph.path for graph in self.graphs if hasattr(graph, "path")] + start

    def data_files(self) -> list[str]:
        """The files that samples are read from."""
        return [path for key in PATHS if (path := getattr(self.data, key, None)) is not None]

    @property
    def start_file(self) -> str:
        """The result or .npy file that ``run.start`` names."""
        return str(Path(self.folder) / self.run.start)

    @property
    def nodes(self) -> int | None:
        """Number of nodes; None if only a graph's file knows. Raises UsageError if graphs of a list differ in it."""
        counts = [graph.nodes for graph in self.graphs if graph.nodes is not None]
        if len(set(counts)) > 1:
            raise UsageError(f"{self.path}: topology: the graphs of a list differ in nodes: {counts}")
        return counts[0] if counts else None

    def topology(self) -> Topology:
        """The mixing matrices. Raises UsageError if they do not average or the algorithm cannot use them.

        A method for directed graphs asks less of them: paths from every node to every other.
        """
        with naming(self.path):
            for graph in self.graphs:
                graph.require_memory()
            topology = topology_in_turn([graph.name for graph in self.graphs], [graph.make() for graph in self.graphs])
            if self.algorithm.directed:
                topology.require_strong()
            else:
                topology.require_contraction()
            self.algorithm.require(topology, self.regularizer.name)
            self.algorithm.require_compressor(self.compressor, topology)
            self.algorithm.require_links(self.emulate)
            self.emulate.factors(topology.nodes)
            if self.emulate.links is not None:
                self.emulate.require_links(topology.arcs())
        return topology

    def resolved(self) -> dict[str, Any]:
        """Every table with every key, defaults included (None left out)."""
        tables = {name: _items(getattr(self, name)) for name in PLAIN_TABLES}
        for family in SINGLE_TABLES:
            part = getattr(self, family)
            tables[family] = {"name": part.name, **_items(part)}
        graphs = [{"name": graph.name, **_items(graph)} for graph in self.graphs]
        tables["topology"] = graphs[0] if len(graphs) == 1 else graphs
        return tables

    def resolved_text(self) -> str:
        """``resolved`` as TOML."""
        return _toml(self.resolved())


def load(path: str, overrides: tuple[str, ...] = ()) -> Config:
    """Read and check a config file, or the config in a result file. overrides: ``TABLE.KEY=VALUE``. Raises UsageError.

    Paths in the config of a result file are relative to the folder of the config that was run, if it is still there,
    else to that of the result file.
    """
    content = _content(path)
    if content.startswith(HDF5_BEGINS):
        text, folder = _stored(path)
        return parse(text, path, overrides, folder)
    try:
        return parse(content.decode("utf-8-sig").replace("\r\n", "\n"), path, overrides)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file in UTF-8 ({error.reason} at byte {error.start})") from error


def _content(path: str) -> bytes:
    """What is in a file, or how a result file begins."""
    try:
        require_file(path)
        with open(path, "rb") as file:
            begin = file.read(len(HDF5_BEGINS))
            content = begin if begin == HDF5_BEGINS else begin + file.read(LONGEST)
    except OSError as error:
        cure = " (`mpiqopt examples .` copies the examples here)" if path.startswith("configs/") else ""
        raise UsageError(f"{path}: {error.strerror or error}{cure}") from error
    if len(content) > LONGEST:
        raise UsageError(f"{path}: more than {LONGEST >> 20} MB are no config")
    return content


def _stored(path: str) -> tuple[str, str]:
    """The config in a result file, as run, and the folder that its paths are relative to."""
    from mpiqopt.results.reader import read

    attributes = read(path, ()).attributes
    folder = attributes.get("config_folder", "")
    return attributes["config"], folder if folder and Path(folder).is_dir() else str(Path(path).parent)


def parse(text: str, path: str, overrides: tuple[str, ...] = (), folder: str | None = None) -> Config:
    """Check a config given as text. Raises UsageError, with all wrong keys.

    path: for messages; folder: what relative paths are relative to, by default the folder of ``path``.
    """
    try:
        tables = _tables(text)
        # names first: they decide which keys are left, and other overrides are for the part that is named last
        for override in sorted(overrides, key=lambda word: not word.partition("=")[0].strip().endswith(".name")):
            _override(tables, override)
        config = _checked(tables, text, path, str(Path(path).parent) if folder is None else folder)
        return config._replace(text=_toml(tables)) if overrides else config
    except _NotTOML as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    except WrongKeys as error:
        raise UsageError(_all_wrong(path, error.wrong)) from None
    except RecursionError:
        raise UsageError(f"{path}: not a config: values in values, too deep to be read") from None


class _NotTOML(ValueError):
    """Why a text cannot be read as TOML."""


def _tables(text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _NotTOML(error) from None
    except ValueError:
        raise _NotTOML(f"a number of more than {sys.get_int_max_str_digits()} digits") from None


def _toml(tables: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(tables)


class _Parts(dict[str, Any]):
    """The parts that tables describe, as far as these are right. wrong: the keys that are not."""

    def __init__(self, wrong: Iterable[Wrong]):
        super().__init__()
        self.wrong = [*wrong]

    def add(self, name: str, make: Callable[..., Any], *arguments: Any) -> None:
        try:
            self[name] = make(*arguments)
        except WrongKeys as error:
            self.wrong += error.wrong


def _checked(tables: dict[str, Any], text: str, path: str, folder: str) -> Config:
    """The config of tables. Raises WrongKeys with all that are wrong."""
    parts = _Parts(_wrong_tables(tables))
    unusable = {each.key for each in parts.wrong}
    for name, cls in PLAIN_TABLES.items():
        if name not in unusable:
            parts.add(name, _build, cls, tables.get(name, {}), name)
    default = {"regularizer": {"name": "zero"}}
    for family in [family for family in FAMILY_TABLES if family not in unusable]:
        if family == "compressor":
            # it comes last: the method says which one is meant by default
            default[family] = {"name": getattr(parts.get("algorithm"), "default_compressor", None) or "identity"}
        for table in _listed(default.get(family, {}), tables.get(family, {})):
            parts.add(family, _member, family, table, folder)
    if parts.wrong:
        raise WrongKeys(parts.wrong)
    del parts["topology"]
    return Config(path=path, text=text, tables=tables, folder=folder, **parts)


def _listed(default: dict[str, Any], given: dict[str, Any] | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return given if isinstance(given, list) else [default | given]


def _wrong_tables(tables: dict[str, Any]) -> Iterator[Wrong]:
    """Those that are unknown or no tables."""
    known = [*PLAIN_TABLES, *FAMILY_TABLES]
    for name, value in tables.items():
        key = clipped(name, QUOTED)
        if name not in known:
            yield Wrong(key, f"{key}: unknown table{suggestion(name, known)}; tables: {', '.join(known)}")
        elif not isinstance(value, dict) and not (name == "topology" and _are_tables(value)):
            yield Wrong(key, f"{key} = {quoted(value)}: want a table [{name}]")


def _are_tables(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(each, dict) for each in value)


def _all_wrong(path: str, wrong: tuple[Wrong, ...]) -> str:
    """What is wrong with keys, if it fits in a line, else which they are and what is wrong with the first."""
    messages = {each.key: each.message for each in reversed(wrong)}
    keys = [*reversed(messages)]
    whole = f"{path}: {'; '.join(messages[key] for key in keys)}"
    if len(keys) == 1 or fits(whole):
        return whole
    line = listing(f"{clipped(path, LONG_PATH)}: {len(keys)} wrong keys: ", keys)
    rest = LINE - len(line) - 2
    return line if rest < QUOTED else f"{line}; {clipped(messages[keys[0]], rest)}"


def first_difference(old: Config, new: Config) -> str | None:
    """The first key, as ``table.key = new (was old)``, in which a continuation's config may not differ but does."""
    before, after = old.resolved(), new.resolved()
    for table in after:
        if isinstance(before[table], list) or isinstance(after[table], list):
            if before[table] != after[table]:
                return f"{table} = {after[table]!r} (was {before[table]!r})"
            continue
        for key in before[table] | after[table]:
            was, now = before[table].get(key), after[table].get(key)
            if was != now and (table, key) not in FREE_ON_RESUME:
                return f"{table}.{key} = {now!r} (was {was!r})"
    return None


def _items(part: Any) -> dict[str, Any]:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return {key: value for key, value in values.items() if value is not None}


def _override(tables: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    table, dot, name = key.strip().partition(".")
    if not (equals and dot and table and name):
        raise UsageError(f"--set {override}: want TABLE.KEY=VALUE")
    target = tables.setdefault(table, {})
    if not isinstance(target, dict):
        raise UsageError(f"--set {override}: the config's {table} is not a single table")
    before, parsed = target.get("name"), typed(value.strip(), f"--set {override}")
    target[name] = parsed
    if name == "name" and table in FAMILY_TABLES:
        # keys that only the part that was named before has mean nothing to this one
        foreign = _keys(table, before) - _keys(table, parsed)
        tables[table] = {key: value for key, value in target.items() if key == "name" or key not in foreign}


def typed(value: str, where: str) -> Any:
    """Return what a word on the command line means: TOML, a number or boolean as other languages have it, a string.

    where: what to call it in messages. Raises UsageError.
    """
    try:
        value.encode()
        read = _tables(f"value = {WORDS.get(value, value)}")
        return read["value"] if len(read) == 1 else value  # a line break began another key
    except _NotTOML:
        return _number(value) if NUMBER.fullmatch(value) and len(value) <= QUOTED else value
    except UnicodeEncodeError:
        raise UsageError(f"{where}: not UTF-8") from None
    except RecursionError:
        raise UsageError(f"{where}: values in values, too deep to be read") from None


def _number(word: str) -> int | float:
    return int(word) if word.lstrip("+-").isdecimal() else float(word)


def _keys(family: str, name: Any) -> set[str]:
    """The keys of a part; none if there is no such part."""
    known = registry.members(family)
    return {field.name for field in fields(known[name])} if isinstance(name, str) and name in known else set()


def member(family: str, table: dict[str, Any], path: str) -> Any:
    """Return the part that a family's table of the config at ``path`` describes. Raises UsageError."""
    with naming(path):
        return _member(family, table, str(Path(path).parent))


def _member(family: str, table: dict[str, Any], folder: str) -> Any:
    """The part that a family's table describes; its paths become ones from here. Raises WrongKeys."""
    name = table.get("name")
    if not isinstance(name, str):
        said = ": missing; allowed: " if name is None else f" = {quoted(name)}: want one of "
        raise _wrong_key(f"{family}.name", said + ", ".join(registry.members(family)))
    try:
        cls = registry.find(family, name)
    except UsageError as error:
        known = registry.members(family)
        said = error if name in known else f"unknown{suggestion(name, known)}; known: {', '.join(known)}"
        raise _wrong_key(f"{family}.name", f" = {quoted(name)}: {said}") from error
    part = _build(cls, {key: value for key, value in table.items() if key != "name"}, family)
    given = {key: getattr(part, key, None) for key in PATHS}
    return replace(part, **{key: str(Path(folder) / path) for key, path in given.items() if path is not None})


def _wrong_key(key: str, said: str) -> WrongKeys:
    return WrongKeys([Wrong(key, key + said)])


def _build(cls: type, table: dict[str, Any], where: str) -> Any:
    """An instance of a dataclass from a table. Raises WrongKeys with key, value and what is allowed."""
    from mpiqopt.checking import checked

    known = [field.name for field in fields(cls)]
    foreign = [_foreign(cls, key, known, where) for key in table if key not in known]
    try:
        part = cls(**checked(cls, {key: value for key, value in table.items() if key in known}, where))
    except WrongKeys as error:
        raise WrongKeys([*foreign, *error.wrong]) from None
    except UsageError as error:  # of several keys together
        raise WrongKeys([*foreign, Wrong(_key_of(str(error)), str(error))]) from error
    except TypeError as error:  # a plugin's class that lacks an abstract method
        raise WrongKeys([*foreign, Wrong(where, f"{where}: {error}")]) from error
    if foreign:
        raise WrongKeys(foreign)
    return part


def _foreign(cls: type, key: str, known: list[str], where: str) -> Wrong:
    full = f"{where}.{clipped(key, QUOTED)}"
    name = f" {cls.name!r}" if hasattr(cls, "name") else ""
    keys = ", ".join(known) or "it has none"
    return Wrong(full, f"{full}: unknown key{suggestion(key, known)}; keys of {where}{name}: {keys}")


def _key_of(message: str) -> str:
    """The TABLE.KEY that a message begins with."""
    return message.partition(" ")[0].rstrip(":")
