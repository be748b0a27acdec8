"""What a checked config is: the tables as dataclasses, and what follows from them alone."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mpiqopt.algorithms.algorithm import Algorithm
from mpiqopt.compressors.compressor import Compressor
from mpiqopt.config.tables import DRAWN_STARTS, LIST_TABLES, PLAIN_TABLES, SINGLE_TABLES, Checkpoint, Record, Run
from mpiqopt.data.source import Source
from mpiqopt.emulation.devices import DeviceClass, Devices
from mpiqopt.emulation.settings import Emulate
from mpiqopt.errors import UsageError, errors_name_file
from mpiqopt.problems.loss import Loss
from mpiqopt.regularizers.regularizer import Regularizer
from mpiqopt.topologies.topology import Topology, topology_in_turn

if TYPE_CHECKING:
    from mpiqopt.topologies.graph import AnyGraph

# Keys that name files, relative to the config's folder.
PATHS = ("path", "test_path", "labels_path", "test_labels_path")


class Config(NamedTuple):
    """A checked config, as ``parse.load`` and ``parse.parse`` return it; rank 0 sends it to the others.

    Attributes
    ----------
    path : the file that it was read from, for messages
    text : the TOML text as run, overrides of the command line included
    tables : that text, parsed
    folder : the folder that paths in the config are relative to
    run, record, checkpoint, emulate : the plain tables
    devices : the tables [[devices]], none if all devices are alike
    data, problem, regularizer, algorithm, compressor : the member that each family's table selects
    """

    path: str
    text: str
    tables: dict[str, Any]
    folder: str
    run: Run
    record: Record
    checkpoint: Checkpoint
    emulate: Emulate
    devices: tuple[DeviceClass, ...]
    data: Source
    problem: Loss
    regularizer: Regularizer
    algorithm: Algorithm
    compressor: Compressor

    @property
    def graphs(self) -> "tuple[AnyGraph, ...]":
        """Build the graphs from ``tables``: ranks that receive the topology never do."""
        from mpiqopt.config.build import build_member, tables_of_family

        return tuple(
            build_member("topology", table, self.folder) for table in tables_of_family(self.tables.get("topology", {}))
        )

    def files(self) -> list[str]:
        """Return the files that the config names and that rank 0 reads for all: graphs, and the start."""
        start = [] if self.run.start in DRAWN_STARTS else [self.start_file]
        return [graph.path for graph in self.graphs if hasattr(graph, "path")] + start

    def data_files(self) -> list[str]:
        """Return the files that samples are read from."""
        return [path for key in PATHS if (path := getattr(self.data, key, None)) is not None]

    @property
    def start_file(self) -> str:
        """Return the path of the result or .npy file that ``run.start`` names."""
        return str(Path(self.folder) / self.run.start)

    @property
    def dtype(self) -> str:
        """Return the type of iterates and messages, "float64" or "float32"."""
        return self.problem.default_dtype if self.run.dtype == "auto" else self.run.dtype

    @property
    def start(self) -> str:
        """Return ``run.start``, "zero" for "auto" but where the problem draws its start."""
        if self.run.start != "auto":
            return self.run.start
        return "auto" if self.problem.draws_start else "zero"

    @property
    def nodes(self) -> int | None:
        """Return the number of nodes; None if only a graph's file tells it.

        Raises UsageError if the graphs of a list differ in it.
        """
        counts = [graph.nodes for graph in self.graphs if graph.nodes is not None]
        if len(set(counts)) > 1:
            raise UsageError(f"{self.path}: topology: the graphs of a list differ in nodes: {counts}")
        return counts[0] if counts else None

    def devices_of(self, nodes: int) -> Devices:
        """Return the devices of so many nodes. Raises UsageError if a class would have none of them."""
        return Devices(self.devices, nodes, self.run.seed)

    @property
    def limits_memory(self) -> bool:
        """True if the method trains on some device what little memory allows."""
        return self.algorithm.fits_devices and any(device.lacks_memory for device in self.devices)

    def require_recorded(self) -> None:
        """Raise UsageError if the run is to end at a value of which ``record.training`` records nothing."""
        training = self.record.training
        for key, enough in (("tolerance", ("gradient",)), ("stop_gap", ("gradient", "value"))):
            value = getattr(self.run, key)
            if value is not None and training not in enough:
                wanted = f"record.training = {' or '.join(map(repr, enough))}, not {training!r}"
                raise UsageError(f"{self.path}: run.{key} = {value:g}: wants {wanted}")

    def topology(self) -> Topology:
        """Build the mixing matrices.

        Raises UsageError if they do not average, or if the algorithm, the compressor or the emulated links cannot be
        used with them. Methods for directed graphs only need paths from every node to every other.
        """
        with errors_name_file(self.path):
            for graph in self.graphs:
                graph.require_memory()
            topology = topology_in_turn([graph.name for graph in self.graphs], [graph.make() for graph in self.graphs])
            self._require_usable(topology)
        return topology

    def _require_usable(self, topology: Topology) -> None:
        """Raise UsageError if some part of the config cannot be used with the mixing matrices."""
        if self.algorithm.directed:
            topology.require_strong()
        else:
            topology.require_contraction()
        self.algorithm.require(topology, self.regularizer.name)
        self.algorithm.require_compressor(self.compressor, topology)
        self.algorithm.require_links(self.emulate)
        self.emulate.factors(topology.nodes)
        self.devices_of(topology.nodes)
        if self.emulate.links is not None:
            self.emulate.require_links(topology.arcs())
        self.emulate.require_silent(topology.nodes)

    def resolved(self) -> dict[str, Any]:
        """Return every table with every key, defaults included, but for keys that are None, which TOML cannot say.

        Of [run], "auto" is replaced by what it means for the problem.
        """
        tables: dict[str, Any] = {name: given_keys(getattr(self, name)) for name in PLAIN_TABLES}
        tables["run"] |= {"dtype": self.dtype, "start": self.start}
        lists = {name: [given_keys(each) for each in getattr(self, name)] for name in LIST_TABLES}
        tables |= {name: each for name, each in lists.items() if each}
        for family in SINGLE_TABLES:
            part = getattr(self, family)
            tables[family] = {"name": part.name, **given_keys(part)}
        graphs = [{"name": graph.name, **given_keys(graph)} for graph in self.graphs]
        return {**tables, "topology": graphs[0] if len(graphs) == 1 else graphs}

    def resolved_text(self) -> str:
        """Return ``resolved`` as TOML text."""
        from mpiqopt.config.toml import write_toml

        return write_toml(self.resolved())


def given_keys(part: Any) -> dict[str, Any]:
    """Return the keys of a part of a config with their values, but for those that are None, which TOML cannot say."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return {key: value for key, value in values.items() if value is not None}
