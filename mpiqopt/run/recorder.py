"""The result file of a run, as all ranks see it: rank 0 writes, and the others learn whether it could."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mpiqopt
from mpiqopt import kernels
from mpiqopt.algorithms.federated import FederatedAlgorithm
from mpiqopt.data.shares import label_counts
from mpiqopt.emulation.devices import group_devices
from mpiqopt.placement.shared_rows import is_shared, shared_rows
from mpiqopt.run.assembly import Experiment
from mpiqopt.run.ending import End
from mpiqopt.transport.agreement import agreed_from_rank_0

if TYPE_CHECKING:
    from mpiqopt.results.writer import Writer


class Recorder:
    """Writes records, what nodes have done and the end of a run to its result file.

    Parameters
    ----------
    experiment : what is run
    output : path of the file
    note : called on rank 0 with a line to say, such as that the disk is full
    """

    def __init__(self, experiment: Experiment, output: Path, note: Callable[[str], None]):
        self._experiment, self._output, self._note = experiment, output, note
        self._transport = experiment.network.transport
        self._writer: Writer | None = None  # on rank 0 alone

    def open(self, run_id: str, prints: dict[str, str], continued_at: int | None) -> None:
        """Make the file, or go on with the one that is there; collective.

        Parameters
        ----------
        run_id : of the run, in its result file and checkpoint
        prints : checksums of what the run is made from
        continued_at : the iteration that is gone on from; None for a new file

        Raises
        ------
        AgreedError
            If the file cannot be gone on with.
        """
        transport, place = self._transport, self._experiment.network.place
        levels = transport.gather(np.array([kernels.level()]), [1] * transport.size)
        counts = label_counts(self._experiment.shares)
        counts = None if counts is None else transport.gather(counts, place.counts)
        kernel = "" if levels is None else kernels.kernel_names(levels.tolist())
        agreed_from_rank_0(
            transport, lambda: self._open(self._attributes(run_id, prints, kernel), counts, continued_at)
        )

    def _open(self, attributes: dict[str, Any], counts: np.ndarray | None, continued_at: int | None) -> None:
        from mpiqopt.results.writer import Writer  # h5py, which ranks > 0 do without

        if continued_at is None:
            self._writer = Writer.create(self._output, attributes, self._experiment.network.topology, self._note)
        else:
            self._writer = Writer.resume(self._output, attributes, continued_at, self._note)
        self._writer.data(self._experiment.shares, counts)
        self._write_devices(self._writer)

    def _write_devices(self, writer: "Writer") -> None:
        """Write which device each client has, and how large a message is, for methods with clients."""
        made, network = self._experiment, self._experiment.network
        if isinstance(made.algorithm, FederatedAlgorithm):
            groups = group_devices(network.devices, network.emulate.factors(network.place.nodes))
            writer.devices(groups.classes, groups.facts)
            portions = made.algorithm.portions(made.problem, network, made.config.run.seed)
            writer.message_size(portions.parts.width * made.problem.dtype.itemsize, network.place.nodes)

    def _attributes(self, run_id: str, prints: dict[str, str], kernel: str) -> dict[str, Any]:
        """Return the attributes of the file: the config, versions, and what a continuation needs to know."""
        from json import dumps  # like h5py, for rank 0 alone

        config = self._experiment.config
        return {
            "config": config.text,
            "config_folder": os.path.abspath(config.folder),
            "config_resolved": config.resolved_text(),
            "derived": dumps(self._experiment.derived),
            "fingerprints": dumps(prints),
            "mpiqopt_version": mpiqopt.__version__,
            "mpi_library": self._transport.library,
            "kernels": kernel,
            "ranks": self._transport.size,
            "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "run_id": run_id,
            "status": "running",
            "stop_reason": "",
            **({"network": dumps(facts)} if (facts := self._experiment.problem.model_facts) else {}),
        }

    @property
    def writes(self) -> bool:
        """True on rank 0."""
        return self._writer is not None

    def append(self, record: dict[str, Any]) -> None:
        """Add a record, a value for each of ``layout.QUANTITIES``; the file is brought up to date now and then."""
        if self._writer is not None:
            self._writer.append(record)

    def append_clients(self) -> None:
        """Add the rounds of clients since the last call, collective; nothing for methods without clients."""
        made = self._experiment
        if made.problem.clients is None:
            return
        first, own = made.problem.clients.client_log.take()
        gathered = {name: self._transport.gather(rows.T, made.network.place.counts) for name, rows in own.items()}
        columns = {name: rows.T for name, rows in gathered.items() if rows is not None}
        if self._writer is not None and len(own["sampled"]):
            self._writer.clients(first, columns)

    def write_nodes(self, columns: dict[str, np.ndarray] | None) -> None:
        """Write what each node has done: ``NodeCounters.columns``."""
        if self._writer is not None and columns is not None:
            self._writer.nodes(columns)

    def drop_after(self, iteration: int) -> None:
        """Drop the records after ``iteration``."""
        if self._writer is not None:
            self._writer.cut(iteration)

    def publish(self) -> None:
        """Bring the file on disk up to date, on this rank alone: for one that is about to fail."""
        if self._writer is not None:
            self._writer.publish()

    def publish_durably(self) -> bool:
        """Bring the file on disk up to date for good, collective; False, on all ranks, if it cannot be written."""
        return self._agreed(self._writer is None or self._writer.publish(durable=True))

    def finish(self, end: End, x: np.ndarray) -> bool:
        """Write how the run ended and its last iterates, collective; False, on all ranks, if that cannot be written.

        x: the hosted nodes' iterates (hosted, d); of ``shared_rows`` nothing is gathered.
        """
        network, written = self._experiment.network, True
        place = network.place
        rows = shared_rows(x[0], place.nodes) if is_shared(x) else self._transport.gather(x, place.counts)
        if self._writer is not None and rows is not None:
            status = "stopped" if end.status == "diverged" else end.status
            names: dict[str, Sequence[str] | None] = {
                "node": network.topology.names,
                "coordinate": self._experiment.problem.coordinate_names,
            }
            written = self._writer.finish(status, end.reason, rows, network.coordination.mail_transport, names)
        return self._agreed(written)

    def _agreed(self, written: bool) -> bool:
        """Return rank 0's answer."""
        return bool(self._transport.broadcast(np.array([written]))[0])
