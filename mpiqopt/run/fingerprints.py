"""Checksums of what a run is made from, so that its continuation is made from the same: files, and data as loaded."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mpiqopt import registry
from mpiqopt.config.config import Config
from mpiqopt.data.shares import Shares
from mpiqopt.errors import UsageError
from mpiqopt.network.network import Network

DATA = "data"


def fingerprint_files(config: Config) -> dict[str, str]:
    """Return the CRC-32 of plug-ins and of the files beside the config, but for data, by name."""
    contents = {f"plug-in {Path(path).name}": source for path, source in registry.plugins.items()}
    contents |= {Path(path).name: Path(path).read_bytes() for path in config.files()}
    return {name: f"{zlib.crc32(content):08x}" for name, content in contents.items()}


def fingerprint_data(shares: Shares, network: Network) -> dict[str, str]:
    """Return a checksum of all samples, the same on any number of ranks; collective, nothing but on rank 0.

    It is that of what was loaded: the same numbers in another format are the same data.
    """
    nodes = [_of_rows(shares, *span) for span in zip(shares.offsets[:-1], shares.offsets[1:], strict=True)]
    transport = network.transport
    each = transport.gather(np.array(nodes, np.int64), network.place.counts)
    held_out = transport.total(np.array([_sum(shares.test_features), _sum(shares.test_targets)], np.int64))
    return {} if each is None else {DATA: f"{zlib.crc32(np.concatenate([each, held_out]).data):08x}"}


def _of_rows(shares: Shares, first: int, last: int) -> int:
    """Return the CRC-32 of a node's samples, first .. last-1 of those loaded here."""
    checksum = 0
    for part in (shares.targets[first:last], *_arrays(shares.features[first:last])):
        checksum = zlib.crc32(np.ascontiguousarray(part).data, checksum)
    return checksum


def _arrays(features: Any) -> tuple[np.ndarray, ...]:
    """Return the arrays of dense or sparse rows."""
    if isinstance(features, np.ndarray):
        return (features,)
    return features.data, features.indices.astype(np.int64), features.indptr.astype(np.int64)


def _sum(rows: Any) -> int:
    """Return the sum of the bits of held-out samples, as integers: it does not depend on which rank has which."""
    dense = rows if isinstance(rows, np.ndarray) else rows.data
    bits = np.ascontiguousarray(dense, np.float64).view(np.int64)
    return int(np.add.reduce(bits, axis=None, dtype=np.int64))


def require_same_fingerprints(before: dict[str, str], now: dict[str, str], output: Path) -> None:
    """Raise UsageError for the first thing that is not as it was; things that ``before`` does not name may differ.

    before, now: checksums by name, of ``fingerprint_files`` and ``fingerprint_data``; output: path of the result file,
    for messages.
    """
    for name, was in before.items():
        if now.get(name, was) == was:
            continue
        what = "the data are not those" if name == DATA else f"{name} is not the file"
        cure = "bring it back, or say --overwrite"
        raise UsageError(f"{output}: {what} that the run began with (CRC-32 {now[name]}, was {was}); {cure}")
