"""What devices train that do not train the whole network, and what that saves, by class of devices.

>>> first, last = np.array([[0, 1], [-1, 2]]), np.array([[1, 1], [-1, 2]])  # (rounds, clients), -1: did not train
>>> block_parts(first, last, np.array([0, 1]), 2).tolist()  # (blocks, classes of devices)
[[1.0, 0.0], [1.0, 0.5], [0.0, 0.5]]
"""

import numpy as np

from mpiqopt.results.reader import Clients

# what is saved, and the quantity that says it
SAVINGS = {
    "bytes up": "up_bytes",
    "bytes down": "down_bytes",
    "device time": "time_share",
    "peak memory": "memory_share",
}
# what these numbers are made from: quantities of every round, and totals over rounds
ROUNDS, TOTALS = ("window_first", "window_last", "width"), tuple(SAVINGS.values())


def saved_parts(clients: Clients) -> dict[str, np.ndarray]:
    """Return what each class of devices has saved, and all together, float64 (classes + 1,), by the names of SAVINGS.

    Bytes are compared with as many messages of the whole network sent as it is, time and peak memory of a training with
    those of training the whole network: the mean over trainings. NaN for a class without any. Nothing is returned if
    nothing is saved, and not what the file does not say.
    """
    found = {}
    for name, quantity in SAVINGS.items():
        whole = clients.whole_bytes if quantity.endswith("_bytes") else 1
        if quantity in clients.totals and whole:
            counts, sums = (_with_all(clients, each) for each in clients.totals[quantity])
            found[name] = 1 - np.divide(sums, counts * whole, out=np.full(len(sums), np.nan), where=counts > 0)
    return found if any(np.nan_to_num(parts).any() for parts in found.values()) else {}


def _with_all(clients: Clients, values: np.ndarray) -> np.ndarray:
    """Return the sums of values (clients,) over each class of devices, and over all: float64 (classes + 1,)."""
    return np.append(np.bincount(clients.device, values, minlength=clients.classes), values.sum())


def block_parts(first: np.ndarray, last: np.ndarray, device: np.ndarray, classes: int) -> np.ndarray:
    """Return the part of the trainings of each class of devices that trained a block, float64 (blocks, classes).

    Parameters
    ----------
    first, last : int (rounds, clients), the window of each training; -1 where there was none.
    device, classes : int (clients,), the class of each client, of so many.
    """
    rounds, trained = np.nonzero(first >= 0)
    begins, ends, kinds = first[rounds, trained], last[rounds, trained], device[trained]
    steps = np.zeros((int(ends.max(initial=-1)) + 2, classes))
    np.add.at(steps, (begins, kinds), 1)
    np.add.at(steps, (ends + 1, kinds), -1)
    return _parts(steps.cumsum(axis=0)[:-1], kinds, classes)


def width_parts(width: np.ndarray, device: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the widths that were trained, descending, and the part of the trainings of each class with each of them.

    width: float (rounds, clients), NaN where there was no training. The parts are float64 (widths, classes).
    """
    rounds, trained = np.nonzero(np.isfinite(width))
    values, codes = np.unique(-width[rounds, trained], return_inverse=True)
    counts = np.zeros((len(values), classes))
    np.add.at(counts, (codes, device[trained]), 1)
    return -values, _parts(counts, device[trained], classes)


def _parts(counts: np.ndarray, kinds: np.ndarray, classes: int) -> np.ndarray:
    """Return counts (k, classes) divided by the trainings of each class; NaN for a class without any."""
    trainings = np.broadcast_to(np.bincount(kinds, minlength=classes), counts.shape)
    return np.divide(counts, trainings, out=np.full(counts.shape, np.nan), where=trainings > 0)
