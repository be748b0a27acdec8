"""Writes the trajectory: records along an unlimited axis, published as a whole file every moment."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np

from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.results import files
from mpiqopt.results.layout import NODE_QUANTITIES, QUANTITIES
from mpiqopt.topologies.topology import Topology

# What netCDF readers (xarray) expect as the label of an axis that has no coordinates.
NO_COORDINATES = b"This is a netCDF dimension but not a netCDF variable.%10d"
# Publishing costs a copy of the file: at most this share of the time, and not more often than needed to lose little.
PUBLISH_SHARE, PUBLISH_SECONDS = 0.02, 0.1
# Records in a chunk at first. A dataset of more than MOST_CHUNKS gets chunks that are larger by GROWTH, up to LARGEST:
# short runs leave small files, and long ones do not crumble.
CHUNK, MOST_CHUNKS, GROWTH, LARGEST = 16, 64, 8, 8192
# records that are stored as Python objects
BUFFERED = 8192


Warn = Callable[[str], None]
Names = Sequence[str] | None


def silent(text: str) -> None:
    """Say nothing."""


class Writer:
    """The result file of one run, on rank 0. Records are buffered between publications."""

    def __init__(self, path: Path, file: h5py.File, warn: Warn):
        self.path, self.file, self._warn = path, file, warn
        self.run_id = file.attrs["run_id"]
        self._rows: list[dict] = []
        self._published, self._cost, self._failing = 0.0, 0.0, False

    @classmethod
    def create(cls, path: Path, attributes: dict, topology: Topology, warn: Warn = silent) -> "Writer":
        """Return the writer of a new file (nothing is on disk before ``publish``). warn: called with a line to say."""
        file = files.in_memory()
        file.attrs.update(attributes)
        _axis(file, "record", 0, unlimited=True)
        _write_topology(file.create_group("topology"), topology)
        return cls(path, file, warn)

    @classmethod
    def resume(cls, path: Path, attributes: dict, iteration: int, warn: Warn = silent) -> "Writer":
        """Return the writer of the file at ``path`` without the records after ``iteration``. Raises UsageError."""
        try:
            file = files.into_memory(path)
            file.attrs.update(attributes)
            if "final" in file:
                del file["final"]
            writer = cls(path, file, warn)
            writer.cut(iteration)
        except files.UNREADABLE as error:
            raise UsageError(f"{path}: cannot go on with it ({error}); say --overwrite to start afresh") from error
        return writer

    def cut(self, iteration: int) -> None:
        """Drop the records after ``iteration``."""
        self._flush()
        keep = int(np.searchsorted(self.file["iteration"][()], iteration, side="right"))
        if "record" not in self.file:
            raise KeyError("it lacks record")
        for name in (*QUANTITIES, "record"):
            if name in self.file:
                self.file[name].resize(keep, axis=0)

    def append(self, record: dict) -> None:
        """Add a record; None values belong to quantities that this run does not have."""
        self._rows.append(record)
        if len(self._rows) >= BUFFERED:
            self._flush()
        now = time.perf_counter()
        if now - self._published > max(PUBLISH_SECONDS, self._cost / PUBLISH_SHARE):
            self.publish()

    def publish(self, durable: bool = False) -> bool:
        """Bring the file on disk up to date; False if that is not possible now, and the last one stays."""
        start = time.perf_counter()
        self._flush()
        try:
            files.publish(self.file, self.path, self.run_id, durable)
            self._failing = False
        except OSError as error:
            if not self._failing:  # a full disk is said once
                self._warn(f"{self.path}: cannot write ({error.strerror or error}); going on, and trying again")
            self._failing = True
        self._published = time.perf_counter()
        self._cost = self._published - start
        return not self._failing

    def nodes(self, columns: dict[str, np.ndarray]) -> None:
        """What each node has done so far, arrays (nodes,)."""
        if "nodes" in self.file:
            del self.file["nodes"]
        group = self.file.create_group("nodes")
        axis = _axis(group, "node", len(next(iter(columns.values()))))
        for name, values in columns.items():
            quantity = NODE_QUANTITIES[name]
            _store(group, name, values.astype(quantity.dtype))
            group[name].attrs.update({"units": quantity.units, "long_name": quantity.meaning})
            group[name].dims[0].attach_scale(axis)

    def data(self, shares: Shares, counts: np.ndarray | None) -> None:
        """What was read, and what each node holds. counts: of labels (nodes, labels), None for numbers to predict."""
        if isinstance(self.file.get("data"), h5py.Group) and "samples" in self.file["data"]:  # it is a continuation
            return
        if "data" in self.file:  # not as we write it
            del self.file["data"]
        group = self.file.create_group("data")
        group.attrs.update({subject.replace("/", "|"): said for subject, said in shares.read.items()})
        group.attrs.update({"held_out": shares.held_out, "wrong_labels": shares.noisy})
        if shares.names:
            _store_names(group, "features", shares.names)
            group["features"].dims[0].attach_scale(_axis(group, "feature", len(shares.names)))
        _write_division(group, shares, counts)

    def finish(
        self, status: str, reason: str, x: np.ndarray, carriers: str, names: dict[str, Names] | None = None
    ) -> bool:
        """Write ``status``, why the run ended, the iterates (nodes, d), and how frames have travelled.

        names: of nodes and coordinates, where they have some. False if the file cannot be written.
        """
        self.file.attrs.update({"status": status, "stop_reason": reason})
        if carriers:
            self.file.attrs["transport"] = carriers
        final = self.file.create_group("final")
        _store(final, "x", x)
        final["x"].attrs["long_name"] = "last iterate of every node"
        for axis, (name, size) in enumerate(zip(("node", "coordinate"), x.shape, strict=True)):
            final["x"].dims[axis].attach_scale(_axis(final, name, size))
        _name_axes(final, names or {})
        done = self.publish(durable=True)
        self.file.close()
        return done

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        before = len(self.file["record"])
        count = before + len(rows)
        self.file["record"].resize(count, axis=0)
        for name, value in rows[0].items():
            if value is None:
                if name in self.file:  # an earlier version recorded it
                    del self.file[name]
                continue
            dataset = self._dataset(name, count)
            dataset.resize(count, axis=0)
            dataset[before:] = [row[name] for row in rows]

    def _dataset(self, name: str, count: int) -> h5py.Dataset:
        """That of a quantity, in chunks that are large enough for ``count`` records."""
        if name not in self.file:
            return self._create(name, np.empty(0), _chunk(CHUNK, count))
        dataset = self.file[name]
        (chunk,) = dataset.chunks
        if _chunk(chunk, count) == chunk:
            return dataset
        values = dataset[()]
        dataset.dims[0].detach_scale(self.file["record"])
        del self.file[name]
        return self._create(name, values, _chunk(chunk, count))

    def _create(self, name: str, values: np.ndarray, chunk: int) -> h5py.Dataset:
        quantity = QUANTITIES[name]
        # records that an earlier version wrote without this quantity
        missing = {"fillvalue": np.nan} if quantity.dtype == "float64" else {}
        dataset = self.file.create_dataset(
            name, values.shape, quantity.dtype, values, maxshape=(None,), chunks=(chunk,), fletcher32=True, **missing
        )
        dataset.attrs.update({"units": quantity.units, "long_name": quantity.meaning})
        dataset.dims[0].attach_scale(self.file["record"])
        return dataset


def _chunk(chunk: int, count: int) -> int:
    """Records in a chunk where there are ``count``, and ``chunk`` was enough before."""
    while chunk < LARGEST and count > MOST_CHUNKS * chunk:
        chunk *= GROWTH
    return chunk


def _store(group: h5py.Group, name: str, values: np.ndarray) -> None:
    """Write an array with a checksum, which any reader of HDF5 checks."""
    group.create_dataset(name, data=values, fletcher32=True)


def _write_division(group: h5py.Group, shares: Shares, counts: np.ndarray | None) -> None:
    """Write the samples of every node, by class where there are some, and what the data call them."""
    node = _axis(group, "node", len(shares.sizes))
    _store(group, "samples", shares.sizes)
    columns = [("samples", "training samples of every node", (node,))]
    if shares.groups:
        _store_names(group, "groups", shares.groups)
        columns.append(("groups", "what the data call the samples of every node", (node,)))
    if counts is not None:
        _write_classes(group, shares)
        _store(group, "counts", counts.astype(np.int32))
        columns.append(("counts", "training samples of every class at every node", (node, group["class"])))
    for name, meaning, axes in columns:
        group[name].attrs["long_name"] = meaning
        for number, axis in enumerate(axes):
            group[name].dims[number].attach_scale(axis)


def _write_classes(group: h5py.Group, shares: Shares) -> None:
    """Write the labels by the words that they are in the data, or as numbers."""
    if shares.words is None:
        _store(group, "class", shares.labels)
    else:
        _store_names(group, "class", [shares.words[int(label)] for label in shares.labels])
    group["class"].make_scale()


def _store_names(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    """Write strings. Checksums are for numbers: those of strings would be of their addresses."""
    group.create_dataset(name, data=[value.encode("utf-8", "replace") for value in values], dtype=h5py.string_dtype())


def _name_axes(final: h5py.Group, names: dict[str, Names]) -> None:
    """Write the names along the axes of /final/x, as coordinates by the conventions of netCDF."""
    named = {axis: values for axis, values in names.items() if values}
    for axis, values in named.items():
        _store_names(final, f"{axis}_name", values)
        final[f"{axis}_name"].dims[0].attach_scale(final[axis])
    if named:
        final["x"].attrs["coordinates"] = " ".join(f"{axis}_name" for axis in named)


def _axis(group: h5py.Group, name: str, size: int, unlimited: bool = False) -> h5py.Dataset:
    """An axis without coordinates, as netCDF-4 writes it."""
    extent = {"maxshape": (None,), "chunks": (LARGEST,)} if unlimited else {}  # nothing is ever written to it
    scale = group.create_dataset(name, (size,), "int8", **extent)
    scale.make_scale()
    scale.attrs["NAME"] = np.bytes_(NO_COORDINATES % size)
    return scale


def _write_topology(group: h5py.Group, topology: Topology) -> None:
    """Edges as (i, j) with w_ij: node i receives from node j. Symmetric W: each undirected edge once, i < j."""
    undirected = topology.symmetric
    edges, weights, phases = [], [], []
    for phase, mixing in enumerate(topology.cycle):
        rows, kept = mixing.rows(), mixing.links()
        if undirected:
            kept &= rows < mixing.columns
        edges.append(np.stack([rows[kept], mixing.columns[kept]], axis=1))
        weights.append(mixing.weights[kept])
        phases.append(np.full(kept.sum(), phase))
    group.attrs.update({"name": topology.name, "nodes": topology.nodes, "directed": int(not undirected)})
    _store(group, "edges", np.concatenate(edges))
    _store(group, "weights", np.concatenate(weights))
    if topology.varies:
        _store(group, "phase", np.concatenate(phases))
    edge, end = _axis(group, "edge", len(group["edges"])), _axis(group, "end", 2)
    group["edges"].dims[1].attach_scale(end)
    for name in ("edges", "weights", "phase"):
        if name in group:
            group[name].dims[0].attach_scale(edge)
    if topology.read:
        group.attrs["read"] = json.dumps(topology.read, ensure_ascii=False)
    if topology.names is not None:
        # of any length: HDF5 has no checksums for these, but the file as a whole has
        group.create_dataset("names", data=topology.names, dtype=h5py.string_dtype())
        group["names"].attrs["long_name"] = "names that the file gives the nodes"
        group["names"].dims[0].attach_scale(_axis(group, "node", topology.nodes))
