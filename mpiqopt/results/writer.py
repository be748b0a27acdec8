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
CHUNK = 1024


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
        self._rows.append({name: value for name, value in record.items() if value is not None})
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
        count = len(self.file["record"])
        self.file["record"].resize(count + len(rows), axis=0)
        for name in rows[0]:
            if name not in self.file:
                self._create(name)
            dataset = self.file[name]
            dataset.resize(count + len(rows), axis=0)
            dataset[count:] = [row[name] for row in rows]

    def _create(self, name: str) -> None:
        quantity = QUANTITIES[name]
        dataset = self.file.create_dataset(name, (0,), quantity.dtype, maxshape=(None,), chunks=(CHUNK,))
        dataset.attrs.update({"units": quantity.units, "long_name": quantity.meaning})
        dataset.dims[0].attach_scale(self.file["record"])


def _axis(group: h5py.Group, name: str, size: int, unlimited: bool = False) -> h5py.Dataset:
    """An axis without coordinates, as netCDF-4 writes it."""
    extent = {"maxshape": (None,), "chunks": (CHUNK,)} if unlimited else {}
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
