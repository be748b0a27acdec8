"""Writes the trajectory: records along an unlimited axis, published as a whole file every moment."""

import time
from pathlib import Path

import h5py
import numpy as np

from mpiqopt.results import files
from mpiqopt.results.layout import NODE_QUANTITIES, QUANTITIES
from mpiqopt.topologies.spectrum import Topology

# What netCDF readers (xarray) expect as the label of an axis that has no coordinates.
NO_COORDINATES = b"This is a netCDF dimension but not a netCDF variable.%10d"
# Publishing costs a copy of the file: at most this share of the time, and not more often than needed to lose little.
PUBLISH_SHARE, PUBLISH_SECONDS = 0.02, 0.1
# Records in a chunk at first. A dataset of more than MOST_CHUNKS gets chunks that are larger by GROWTH, up to LARGEST:
# short runs leave small files, and long ones do not crumble.
CHUNK, MOST_CHUNKS, GROWTH, LARGEST = 16, 64, 8, 8192
# records that are kept as Python objects
BUFFERED = 8192


class Writer:
    """The result file of one run, on rank 0. Records are buffered between publications."""

    def __init__(self, path: Path, file: h5py.File):
        self.path, self.file = path, file
        self._rows: list[dict] = []
        self._published, self._cost = 0.0, 0.0

    @classmethod
    def create(cls, path: Path, attributes: dict, topology: Topology) -> "Writer":
        """A new file (nothing is on disk before ``publish``)."""
        file = files.in_memory()
        file.attrs.update(attributes)
        _axis(file, "record", 0, unlimited=True)
        _write_topology(file.create_group("topology"), topology)
        return cls(path, file)

    @classmethod
    def resume(cls, path: Path, attributes: dict, iteration: int) -> "Writer":
        """The file at ``path`` without the records after ``iteration``."""
        file = files.into_memory(path)
        file.attrs.update(attributes)
        keep = int(np.searchsorted(file["iteration"][()], iteration, side="right"))
        for name in (*QUANTITIES, "record"):
            if name in file:
                file[name].resize(keep, axis=0)
        if "final" in file:
            del file["final"]
        return cls(path, file)

    def append(self, record: dict) -> None:
        """Add a record; None values belong to quantities that this run does not have."""
        self._rows.append(record)
        if len(self._rows) >= BUFFERED:
            self._flush()
        now = time.perf_counter()
        if now - self._published > max(PUBLISH_SECONDS, self._cost / PUBLISH_SHARE):
            self.publish()

    def publish(self, durable: bool = False) -> None:
        """Bring the file on disk up to date."""
        start = time.perf_counter()
        self._flush()
        files.publish(self.file, self.path, durable)
        self._published = time.perf_counter()
        self._cost = self._published - start

    def nodes(self, columns: dict[str, np.ndarray]) -> None:
        """What each node has done so far, arrays (nodes,)."""
        if "nodes" in self.file:
            del self.file["nodes"]
        group = self.file.create_group("nodes")
        axis = _axis(group, "node", len(next(iter(columns.values()))))
        for name, values in columns.items():
            quantity = NODE_QUANTITIES[name]
            group.create_dataset(name, data=values.astype(quantity.dtype))
            group[name].attrs.update({"units": quantity.units, "long_name": quantity.meaning})
            group[name].dims[0].attach_scale(axis)

    def finish(self, status: str, reason: str, x: np.ndarray, carriers: str) -> None:
        """Final state: ``status``, why the run ended, the iterates (nodes, d), and how frames have travelled."""
        self.file.attrs.update({"status": status, "stop_reason": reason})
        if carriers:
            self.file.attrs["transport"] = carriers
        final = self.file.create_group("final")
        final["x"] = x
        final["x"].attrs["long_name"] = "last iterate of every node"
        for axis, (name, size) in enumerate(zip(("node", "coordinate"), x.shape, strict=True)):
            final["x"].dims[axis].attach_scale(_axis(final, name, size))
        self.publish(durable=True)
        self.file.close()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        before = len(self.file["record"])
        count = before + len(rows)
        self.file["record"].resize(count, axis=0)
        for name in [name for name, value in rows[0].items() if value is not None]:
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
        dataset = self.file.create_dataset(
            name, values.shape, quantity.dtype, values, maxshape=(None,), chunks=(chunk,)
        )
        dataset.attrs.update({"units": quantity.units, "long_name": quantity.meaning})
        dataset.dims[0].attach_scale(self.file["record"])
        return dataset


def _chunk(chunk: int, count: int) -> int:
    """Records in a chunk where there are ``count``, and ``chunk`` was enough before."""
    while chunk < LARGEST and count > MOST_CHUNKS * chunk:
        chunk *= GROWTH
    return chunk


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
    group["edges"] = np.concatenate(edges)
    group["weights"] = np.concatenate(weights)
    if topology.varies:
        group["phase"] = np.concatenate(phases)
    edge, end = _axis(group, "edge", len(group["edges"])), _axis(group, "end", 2)
    group["edges"].dims[1].attach_scale(end)
    for name in ("edges", "weights", "phase"):
        if name in group:
            group[name].dims[0].attach_scale(edge)
