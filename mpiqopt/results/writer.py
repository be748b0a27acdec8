"""Write the trajectory of a run: records along an unlimited axis, published as a whole file up to ten times a second.

The layout is that of netCDF-4 (axes are dimension scales, quantities have ``units`` and ``long_name``), so that xarray
opens it; every dataset of numbers has checksums.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.results import files
from mpiqopt.results.clients import ClientRounds
from mpiqopt.results.datasets import LARGEST, describe, make_axis, rows_of_chunk, store_numbers, store_texts
from mpiqopt.results.final import Names, write_final
from mpiqopt.results.layout import NODE_QUANTITIES, QUANTITIES, VECTORS
from mpiqopt.topologies.topology import Topology

# Publishing costs a copy of the file: at most this share of the run's time, and at most every PUBLISH_SECONDS.
PUBLISH_SHARE, PUBLISH_SECONDS = 0.02, 0.1
# Records in a chunk at first. A dataset of more than MOST_CHUNKS gets chunks that are larger by GROWTH, up to LARGEST:
# short runs leave small files, and long ones do not crumble.
CHUNK, MOST_CHUNKS, GROWTH = 16, 64, 8
# records that wait as Python objects, where publications are rare: 8192 of them take some 10 MB
BUFFERED = 8192


Warn = Callable[[str], None]


def drop_warning(text: str) -> None:
    """Drop a line: the default of ``Writer`` for warnings."""


class Writer:
    """Write the result file of one run, on rank 0.

    The file is built in memory (``files.new_file_in_memory``); ``publish`` makes it the file on disk; ``append`` does
    so now and then, and ``finish`` for the last time. So readers may open it while the run is at work.
    """

    def __init__(self, path: Path, file: h5py.File, warn: Warn) -> None:
        self.path, self.file, self._warn = path, file, warn
        self.run_id = file.attrs["run_id"]
        self._rows: list[dict] = []
        self._clients = ClientRounds(file)
        self._published, self._cost, self._failing = 0.0, 0.0, False

    @classmethod
    def create(cls, path: Path, attributes: dict, topology: Topology, warn: Warn = drop_warning) -> "Writer":
        """Return the writer of a new file; nothing is on disk before ``publish``.

        Parameters
        ----------
        path:
            of the file, which may be there: it is replaced
        attributes:
            of the root group, those of ``reader.ATTRIBUTES`` among them
        topology:
            stored in the group ``/topology``
        warn:
            called with a line if the file cannot be written, which ends no run: the disk may have space again
        """
        file = files.new_file_in_memory()
        file.attrs.update(attributes)
        make_axis(file, "record", 0, unlimited=True)
        _write_topology(file.create_group("topology"), topology)
        return cls(path, file, warn)

    @classmethod
    def resume(cls, path: Path, attributes: dict, iteration: int, warn: Warn = drop_warning) -> "Writer":
        """Return the writer of the file at ``path``, without the records after ``iteration`` and without ``/final``.

        attributes: those that change; warn: as for ``create``. Raises UsageError if the file is damaged.
        """
        try:
            file = files.copy_into_memory(path)
            file.attrs.update(attributes)
            if "final" in file:
                del file["final"]
            writer = cls(path, file, warn)
            writer.cut(iteration)
        except files.UNREADABLE as error:
            raise UsageError(f"{path}: cannot go on with it ({error}); say --overwrite to start afresh") from error
        return writer

    def cut(self, iteration: int) -> None:
        """Drop the records after ``iteration`` and the rounds of clients from it on: these count from 0.

        Raises KeyError if the file lacks what records are.
        """
        self._flush()
        keep = int(np.searchsorted(self.file["iteration"][()], iteration, side="right"))
        if "record" not in self.file:
            raise KeyError("it lacks record")
        for name in (*QUANTITIES, *VECTORS, "record"):
            if name in self.file:
                self.file[name].resize(keep, axis=0)
        self._clients.cut(iteration)

    def append(self, record: dict) -> None:
        """Add a record, and publish it if enough time has passed.

        record: by name a value for each of ``QUANTITIES``, and an array (k,) for any of ``VECTORS``, which must not
        change later; None for those that this run does not have.
        """
        self._rows.append(record)
        if len(self._rows) >= BUFFERED:
            self._flush()
        now = time.perf_counter()
        if now - self._published > max(PUBLISH_SECONDS, self._cost / PUBLISH_SHARE):
            self.publish()

    def publish(self, durable: bool = False) -> bool:
        """Bring the file on disk up to date; False if that is not possible now, and the last one stays.

        durable: wait until it is on the disk. Warns once, until a publication succeeds again.
        """
        start = time.perf_counter()
        self._flush()
        try:
            files.publish_file(self.file, self.path, self.run_id, durable)
            self._failing = False
        except OSError as error:
            if not self._failing:  # a full disk is said once
                self._warn(f"{self.path}: cannot write ({error.strerror or error}); going on, and trying again")
            self._failing = True
        self._published = time.perf_counter()
        self._cost = self._published - start
        return not self._failing

    def nodes(self, columns: dict[str, np.ndarray]) -> None:
        """Replace the group ``/nodes``: what each node has done so far. columns: (nodes,) by ``NODE_QUANTITIES``."""
        if "nodes" in self.file:
            del self.file["nodes"]
        group = self.file.create_group("nodes")
        axis = make_axis(group, "node", len(next(iter(columns.values()))))
        for name, values in columns.items():
            quantity = NODE_QUANTITIES[name]
            store_numbers(group, name, values.astype(quantity.dtype))
            describe(group[name], quantity, axis)

    def devices(self, classes: np.ndarray, facts: dict[str, np.ndarray]) -> None:
        """Write which device each client has, before the first record; a resumed run keeps what is there.

        classes: int (clients,), positions in the facts; facts: (devices,) by the names of ``layout.DEVICE_FACTS``.
        """
        self._clients.write_devices(classes, facts)

    def message_size(self, size: int, clients: int) -> None:
        """Write how many bytes a message of the whole network has that is sent as it is; of so many clients."""
        self._clients.write_message_size(size, clients)

    def clients(self, first: int, columns: dict[str, np.ndarray]) -> None:
        """Add rounds to the group ``/clients``, which the next publication writes.

        Call it before the ``append`` of a record after these rounds, and before a checkpoint, with every round once.

        Parameters
        ----------
        first:
            the first of these rounds, counted from 0: an iteration is a round. Rounds from it on that are there are
            replaced
        columns:
            (rounds, clients), all of ``layout.CLIENT_QUANTITIES`` by name, of the optional ones always the same; they
            must not change later

        Raises
        ------
        ValueError
            Rounds between those that are there and the first are missing.
        """
        self._clients.add(first, columns)

    def data(self, shares: Shares, counts: np.ndarray | None) -> None:
        """Write the group ``/data``: how data were understood, and the samples of each node. A resumed run keeps it.

        shares: of rank 0, whose ``sizes``, ``labels``, ``names`` and ``groups`` are those of all nodes; counts: samples
        of every label at every node, int (nodes, labels), None for numbers to predict.
        """
        if isinstance(self.file.get("data"), h5py.Group) and "samples" in self.file["data"]:  # it is a continuation
            return
        if "data" in self.file:  # not as we write it
            del self.file["data"]
        group = self.file.create_group("data")
        group.attrs.update({subject.replace("/", "|"): said for subject, said in shares.read.items()})
        group.attrs.update({"held_out": shares.held_out, "wrong_labels": shares.noisy})
        if shares.names:
            store_texts(group, "features", shares.names)
            group["features"].dims[0].attach_scale(make_axis(group, "feature", len(shares.names)))
        _write_division(group, shares, counts)

    def finish(
        self, status: str, reason: str, x: np.ndarray, transport: str, names: dict[str, Names] | None = None
    ) -> bool:
        """Write how the run ended, publish the file for the last time, and close it; False if it cannot be written.

        Parameters
        ----------
        status, reason:
            attributes ``status`` ("finished" or "stopped") and ``stop_reason``
        x:
            iterates (nodes, d), in the type of the run; ``shared_rows`` are written once if they are large
        transport:
            how frames have travelled, "" if there were none
        names:
            of the axes "node" and "coordinate", where these have some
        """
        self.file.attrs.update({"status": status, "stop_reason": reason})
        if transport:
            self.file.attrs["transport"] = transport
        write_final(self.file, x, names or {})
        done = self.publish(durable=True)
        self.file.close()
        return done

    def _flush(self) -> None:
        """Move the records and rounds that wait into the datasets, which grow by as many."""
        self._clients.flush()
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
            dataset = self._dataset(name, count, np.shape(value))
            dataset.resize(count, axis=0)
            dataset[before:] = [row[name] for row in rows]

    def _dataset(self, name: str, count: int, shape: tuple[int, ...]) -> h5py.Dataset:
        """Return the dataset of a quantity, written anew if its chunks are too small for ``count`` records.

        shape: of the values of a record, () or (k,).
        """
        if name not in self.file:
            return self._create(name, np.empty((0, *shape)), _chunk(CHUNK, count))
        dataset = self.file[name]
        chunk = _chunk(dataset.chunks[0], count)
        if min(chunk, rows_of_chunk(dataset.dtype, shape)) <= dataset.chunks[0]:
            return dataset
        values = dataset[()]
        for axis in dataset.dims:
            axis.detach_scale(axis[0])
        del self.file[name]
        return self._create(name, values, chunk)

    def _create(self, name: str, values: np.ndarray, chunk: int) -> h5py.Dataset:
        """Return a new dataset of a quantity along the axis ``record``.

        values: (records,) or (records, k); chunk: records in one, fewer where records are large.
        """
        quantity = (QUANTITIES | VECTORS)[name]
        shape = values.shape[1:]
        # records that an earlier version wrote without this quantity
        missing = {"fillvalue": np.nan} if quantity.dtype.startswith("float") else {}
        dataset = self.file.create_dataset(
            name,
            values.shape,
            quantity.dtype,
            values,
            maxshape=(None, *shape),
            chunks=(min(chunk, rows_of_chunk(quantity.dtype, shape)), *shape),
            fletcher32=True,
            **missing,
        )
        second = [self._clients.axis(quantity.axis, size) for size in shape]
        describe(dataset, quantity, self.file["record"], *second)
        return dataset


def _chunk(chunk: int, count: int) -> int:
    """Return the records in a chunk where there are ``count``, and ``chunk`` was enough before.

    >>> _chunk(16, 1024), _chunk(16, 1025)
    (16, 128)
    """
    while chunk < LARGEST and count > MOST_CHUNKS * chunk:
        chunk *= GROWTH
    return chunk


def _write_division(group: h5py.Group, shares: Shares, counts: np.ndarray | None) -> None:
    """Write the samples of every node, by class where there are some, and what the data call them.

    counts: int (nodes, labels), None without classes.
    """
    node = make_axis(group, "node", len(shares.sizes))
    store_numbers(group, "samples", shares.sizes)
    columns: list[tuple[str, str, tuple[h5py.Dataset, ...]]] = [("samples", "training samples of every node", (node,))]
    if shares.groups:
        store_texts(group, "groups", shares.groups)
        columns.append(("groups", "what the data call the samples of every node", (node,)))
    if counts is not None:
        _write_classes(group, shares)
        store_numbers(group, "counts", counts.astype(np.int32))
        columns.append(("counts", "training samples of every class at every node", (node, group["class"])))
    for name, meaning, axes in columns:
        group[name].attrs["long_name"] = meaning
        for number, axis in enumerate(axes):
            group[name].dims[number].attach_scale(axis)


def _write_classes(group: h5py.Group, shares: Shares) -> None:
    """Write the labels, an axis of the counts: by the words that they are in the data, or as numbers."""
    assert shares.labels is not None  # there are counts of them
    labels = shares.labels
    if shares.words is None:
        store_numbers(group, "class", labels)
    else:
        store_texts(group, "class", [shares.words[int(label)] for label in labels])
    group["class"].make_scale()


def _write_topology(group: h5py.Group, topology: Topology) -> None:
    """Write the links of all matrices: edges (i, j) with weights w_ij, node i receives from node j.

    Symmetric W: each undirected edge once, i < j. phase: which matrix of the cycle, if there are several.
    """
    _write_edges(group, topology)
    if topology.read:
        group.attrs["read"] = json.dumps(topology.read, ensure_ascii=False)
    if topology.names is not None:
        # of any length: HDF5 has no checksums for these, but the file as a whole has
        group.create_dataset("names", data=topology.names, dtype=h5py.string_dtype())
        group["names"].attrs["long_name"] = "names that the file gives the nodes"
        group["names"].dims[0].attach_scale(make_axis(group, "node", topology.nodes))


def _write_edges(group: h5py.Group, topology: Topology) -> None:
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
    store_numbers(group, "edges", np.concatenate(edges))
    store_numbers(group, "weights", np.concatenate(weights))
    if topology.varies:
        store_numbers(group, "phase", np.concatenate(phases))
    edge, end = make_axis(group, "edge", len(group["edges"])), make_axis(group, "end", 2)
    group["edges"].dims[1].attach_scale(end)
    for name in ("edges", "weights", "phase"):
        if name in group:
            group[name].dims[0].attach_scale(edge)
