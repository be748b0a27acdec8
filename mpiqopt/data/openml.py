"""Data sets of openml.org by name, fetched and cached by scikit-learn."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from mpiqopt.data.labels import label_mapping, list_few_labels, number_labels
from mpiqopt.data.source import Source, Table, silence_source_readers, source_table
from mpiqopt.errors import QUOTED, UsageError, clip_for_error_line, quote_in_error
from mpiqopt.field import Field
from mpiqopt.registry import register

# How long a server that does not answer is waited for, twice: a login node without internet has to say so soon.
SECONDS = 8


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Let sockets that are opened meanwhile give up after so many seconds; scikit-learn has no argument for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@register("data", "openml")
@dataclass(frozen=True, kw_only=True)
class OpenML(Source):
    """A data set of openml.org, downloaded once to scikit-learn's folder.

    That is SCIKIT_LEARN_DATA, by default ~/scikit_learn_data. On a cluster whose compute nodes have no internet, run
    ``mpiqopt check CONFIG`` on the login node first.
    """

    dataset: Annotated[str, Field(min_length=1, description="name on openml.org, for example 'mnist_784'")]
    version: Annotated[int, Field(ge=1, description="version on openml.org")] = 1

    def prepare(self) -> None:
        """Download the data set on rank 0 into the cache, from which all ranks then read it."""
        self.open(0)

    def open(self, seed: int) -> Table:
        """Return the table of the data set. Raises UsageError unless it has numbers as features and one target."""
        where = f"openml:{clip_for_error_line(self.dataset, QUOTED)} (version {self.version})"
        found = self._fetched(where)
        features, labels, names = found.data, found.target, tuple(map(str, found.feature_names))
        if labels is None or features.dtype == object:
            raise UsageError(f"data.dataset = {self.dataset!r}: {where} is not numeric with one target")
        targets, words = number_labels(where, labels)
        said = {"format": "openml", "features": f"{len(names)}: {list_few_labels(names)}"}
        if words:
            said["labels"] = label_mapping(words)
        return source_table(where, features, targets, names=names, words=words, read=said)

    def _fetched(self, where: str) -> Any:
        """Return scikit-learn's Bunch, from its cache or the internet. Raises UsageError."""
        from sklearn.datasets import fetch_openml

        try:
            with silence_source_readers(), _timeout(SECONDS):
                return fetch_openml(
                    self.dataset,
                    version=self.version,
                    as_frame=False,
                    parser="liac-arff",
                    n_retries=1,
                )
        except MemoryError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise UsageError(
                f"data.dataset = {quote_in_error(self.dataset)}: cannot get {where} and it is not in the cache: "
                f"{reason}"
            ) from error
