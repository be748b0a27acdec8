"""The one place where a config is checked: TOML text -> frozen dataclasses, or one line that says what is wrong."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from mpiqopt import registry
from mpiqopt.algorithms.algorithm import Algorithm
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.data.source import Source
from mpiqopt.emulation import Emulate
from mpiqopt.errors import UsageError, naming
from mpiqopt.field import Field
from mpiqopt.problems.loss import Loss
from mpiqopt.registry import suggestion
from mpiqopt.regularizers.regularizer import Regularizer
from mpiqopt.topologies.spectrum import Topology

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
            "criterion, up to a factor); mean: stationarity of the mean iterate alone"
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
            "within a host if a short measurement finds that they do not wait for ranks that compute, else messages"
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


class Config(NamedTuple):
    """A checked config. ``text``: as run, overrides included; ``tables``: the parsed TOML."""

    path: str
    text: str
    tables: dict[str, Any]
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
        return tuple(member("topology", t, self.path) for t in (listed if isinstance(listed, list) else [listed]))

    def files(self) -> list[str]:
        """The files beside the config that it names and that rank 0 reads for all: graphs, and the start."""
        start = [] if self.run.start in DRAWN_STARTS else [self.start_file]
        return [graph.path for graph in self.graphs if hasattr(graph, "path")] + start

    @property
    def start_file(self) -> str:
        """The result or .npy file that ``run.start`` names."""
        return str(Path(self.path).parent / self.run.start)

    def topology(self) -> Topology:
        """The mixing matrices. Raises UsageError if they do not average or the algorithm cannot use them.

        A method for directed graphs asks less of them: paths from every node to every other.
        """
        with naming(self.path):
            cycle = tuple(mixing for graph in self.graphs for mixing in graph.cycle())
            if len({mixing.nodes for mixing in cycle}) > 1:
                raise UsageError(f"topology: the graphs of a list differ in nodes: {[m.nodes for m in cycle]}")
            topology = Topology(" + ".join(graph.name for graph in self.graphs), cycle)
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
        import tomli_w

        return tomli_w.dumps(self.resolved())


def load(path: str, overrides: tuple[str, ...] = ()) -> Config:
    """Read and check a config file. overrides: ``TABLE.KEY=VALUE``. Raises UsageError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        cure = " (`mpiqopt examples .` copies the examples here)" if path.startswith("configs/") else ""
        raise UsageError(f"{path}: {error.strerror or error}{cure}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file ({error.reason} at byte {error.start})") from error
    return parse(text, path, overrides)


def parse(text: str, path: str, overrides: tuple[str, ...] = ()) -> Config:
    """Check a config given as text; ``path`` is for messages and the base of relative paths."""
    import tomllib

    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    # names first: they decide which keys are left, and other overrides are for the part that is named last
    for override in sorted(overrides, key=lambda word: not word.partition("=")[0].strip().endswith(".name")):
        _override(tables, override)
    if overrides:
        import tomli_w

        text = tomli_w.dumps(tables)
    for name, value in tables.items():
        known = [*PLAIN_TABLES, *FAMILY_TABLES]
        if name not in known:
            raise UsageError(f"{path}: {name}: unknown table{suggestion(name, known)}; tables: {', '.join(known)}")
        if not isinstance(value, dict) and not (name == "topology" and isinstance(value, list)):
            raise UsageError(f"{path}: {name} = {value!r}: want a table [{name}]")
    plain = {name: _build(cls, tables.get(name, {}), name, path) for name, cls in PLAIN_TABLES.items()}
    parts = {
        family: member(family, tables.get(family, {"name": "zero"} if family == "regularizer" else {}), path)
        for family in SINGLE_TABLES[:-1]
    }
    default = {"name": parts["algorithm"].default_compressor or "identity"}
    parts["compressor"] = member("compressor", default | tables.get("compressor", {}), path)
    config = Config(path=path, text=text, tables=tables, **plain, **parts)
    config.graphs  # noqa: B018 - raises for what is wrong with them
    return config


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
    import tomllib

    key, equals, value = override.partition("=")
    table, dot, name = key.strip().partition(".")
    if not (equals and dot and table and name):
        raise UsageError(f"--set {override}: want TABLE.KEY=VALUE")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    target = tables.setdefault(table, {})
    if not isinstance(target, dict):
        raise UsageError(f"--set {override}: the config's {table} is not a single table")
    before = target.get("name")
    target[name] = parsed
    if name == "name" and table in FAMILY_TABLES:
        # keys that only the part that was named before has mean nothing to this one
        foreign = _keys(table, before) - _keys(table, parsed)
        tables[table] = {key: value for key, value in target.items() if key == "name" or key not in foreign}


def _keys(family: str, name: Any) -> set[str]:
    """The keys of a part; none if there is no such part."""
    known = registry.members(family)
    return {field.name for field in fields(known[name])} if isinstance(name, str) and name in known else set()


def member(family: str, table: dict[str, Any], path: str) -> Any:
    """The part that a family's table describes."""
    if "name" not in table:
        raise UsageError(f"{path}: {family}.name: missing; allowed: {', '.join(registry.members(family))}")
    if not isinstance(table["name"], str):
        known = ", ".join(registry.members(family))
        raise UsageError(f"{path}: {family}.name = {table['name']!r}: want one of {known}")
    try:
        cls = registry.find(family, table["name"])
    except UsageError as error:
        raise UsageError(f"{path}: {family}.name = {table['name']!r}: {error}") from error
    part = _build(cls, {key: value for key, value in table.items() if key != "name"}, family, path)
    if getattr(part, "path", None) is not None:
        part = replace(part, path=str(Path(path).parent / part.path))
    return part


def _build(cls: type, table: dict[str, Any], where: str, path: str) -> Any:
    """An instance of a dataclass from a table. Raises UsageError that names file, key, value and what is allowed."""
    known = [field.name for field in fields(cls)]
    for key in table:
        if key not in known:
            name = f" {cls.name!r}" if hasattr(cls, "name") else ""
            raise UsageError(
                f"{path}: {where}.{key}: unknown key{suggestion(key, known)}; keys of {where}{name}: "
                f"{', '.join(known) or 'it has none'}"
            )
    from mpiqopt.checking import checked

    try:
        return cls(**checked(cls, table, where))
    except (UsageError, TypeError) as error:  # TypeError: a plugin's class that lacks an abstract method
        raise UsageError(f"{path}: {where}: {error}" if isinstance(error, TypeError) else f"{path}: {error}") from error
