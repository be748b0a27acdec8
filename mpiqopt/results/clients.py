"""The group /clients of a result file: what each client did in each round, and which device it has.

Arrays (rounds, clients) are dense: a client that is not drawn costs next to nothing once it is compressed. In 10,000
rounds 1000 clients, of which 50 are drawn, take 27 MB (330 MB before compression), which are published in some 70 ms.
"""

import h5py
import numpy as np

from mpiqopt.coordination.traffic import FRAME_KINDS
from mpiqopt.results.datasets import describe, make_axis, rows_of_chunk, store_numbers
from mpiqopt.results.layout import CLIENT_QUANTITIES, OUTCOMES, Quantity

# bytes of a chunk before compression: publications compress the last one anew
CHUNK_BYTES = 1 << 17
# bytes of rounds that wait in memory where publications are rare; what a call's arrays take beside their values
BUFFERED, OVERHEAD = 1 << 24, 1000
DEVICE = Quantity("int32", "1", "class of devices that the client belongs to")


class ClientRounds:
    """Write rounds to the group /clients of a file, which is made when there is something to write.

    Rounds wait in memory until ``flush``: to write one means to compress a chunk of many again.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._waiting: list[dict[str, np.ndarray]] = []
        self._bytes = 0
        self._count = self._written()

    def write_devices(self, classes: np.ndarray, facts: dict[str, np.ndarray]) -> None:
        """Write /clients/device, int (clients,), whose attributes are the facts on each class, (devices,)."""
        group = self._group(len(classes))
        if "device" not in group:  # else it is a continuation
            store_numbers(group, "device", classes.astype(DEVICE.dtype))
            group["device"].attrs.update({name: np.asarray(values, np.float64) for name, values in facts.items()})
            describe(group["device"], DEVICE, group["client"])

    def write_message_size(self, size: int, clients: int) -> None:
        """Write the attribute of the group that says how many bytes a message of the whole network has, as it is."""
        self._group(clients).attrs["whole_bytes"] = size

    def add(self, first: int, columns: dict[str, np.ndarray]) -> None:
        """Add rounds from ``first`` on, in place of those that are there; see ``Writer.clients``."""
        if first > self._count:
            raise ValueError(f"rounds {self._count} to {first - 1} of clients are missing")
        if first < self._count:
            self.cut(first)
        self._waiting.append({name: columns[name] for name in CLIENT_QUANTITIES if _is_given(name, columns)})
        self._count += len(columns["sampled"])
        self._bytes += OVERHEAD + sum(values.nbytes for values in self._waiting[-1].values())
        if self._bytes > BUFFERED:
            self.flush()

    def flush(self) -> None:
        """Move the rounds that wait into the datasets."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        first, group = self._written(), self._group(waiting[0]["sampled"].shape[1])
        group["round"].resize(self._count, axis=0)
        for name in waiting[0]:
            dataset = group[name] if name in group else _create(group, name)
            dataset.resize(self._count, axis=0)
            dataset[first:] = np.concatenate([rows[name] for rows in waiting])

    def cut(self, rounds: int) -> None:
        """Drop all but the first ``rounds`` rounds."""
        self.flush()
        self._count = min(self._count, rounds)
        if "clients" in self._file:
            for name in {"round", *CLIENT_QUANTITIES} & self._file["clients"].keys():
                self._file["clients"][name].resize(self._count, axis=0)

    def axis(self, name: str, size: int) -> h5py.Dataset:
        """Return an axis of the root group, made when it is first asked for.

        Classes are named as in /data, and devices by their slowdowns, unless tables [[devices]] count them: these are
        coordinates, which xarray selects by. Kinds of frames have names.
        """
        if name in self._file:
            return self._file[name]
        source, values = self._coordinates(name)
        if len(values) != size:
            return make_axis(self._file, name, size)
        checked = {"fletcher32": True} if values.dtype.kind == "f" else {}  # not for texts
        self._file.create_dataset(name, data=values, dtype=source, **checked).make_scale()
        return self._file[name]

    def _coordinates(self, name: str) -> tuple[np.dtype | None, np.ndarray]:
        """Return type and values of the coordinates of an axis, none if the file does not say them."""
        if name == "class" and "data/class" in self._file:
            return self._file["data/class"].dtype, self._file["data/class"][()]
        if name == "device" and "clients/device" in self._file:
            facts = self._file["clients/device"].attrs
            return None, facts["slowdown"] if "time_low" not in facts else np.empty(0)
        if name == "kind":
            return h5py.string_dtype(), np.array(FRAME_KINDS, object)
        return None, np.empty(0)

    def _written(self) -> int:
        """Return how many rounds are in the file."""
        return len(self._file["clients/round"]) if "clients/round" in self._file else 0

    def _group(self, clients: int) -> h5py.Group:
        """Return the group with its axes."""
        if "clients" not in self._file:
            group = self._file.create_group("clients")
            make_axis(group, "round", 0, unlimited=True)
            make_axis(group, "client", clients)
        return self._file["clients"]


def _is_given(name: str, columns: dict[str, np.ndarray]) -> bool:
    """Return True if a quantity is to be written: all are but those that the method does not have."""
    return name in columns or not CLIENT_QUANTITIES[name].optional


def _create(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return the new dataset of a quantity, without rounds."""
    quantity, clients = CLIENT_QUANTITIES[name], len(group["client"])
    dataset = group.create_dataset(
        name,
        (0, clients),
        quantity.dtype,
        maxshape=(None, clients),
        chunks=(rows_of_chunk(quantity.dtype, (clients,), CHUNK_BYTES), clients),
        shuffle=True,
        compression="gzip",
        compression_opts=1,
        fletcher32=True,
    )
    describe(dataset, quantity, group["round"], group["client"])
    if "device" in group:  # by the conventions of netCDF: xarray groups by it
        dataset.attrs["coordinates"] = "device"
    if name == "sampled":  # by the conventions for climate data, which xarray knows
        flags = {"flag_values": np.arange(len(OUTCOMES), dtype=quantity.dtype), "flag_meanings": " ".join(OUTCOMES)}
        dataset.attrs.update(flags)
    return dataset
