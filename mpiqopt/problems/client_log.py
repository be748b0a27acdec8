"""What each client has done in each round: the rows of the group /clients of a result file."""

import numpy as np

# The columns, by name, and their types; the value of a client that was not drawn. The last five are only there if the
# method hands them over.
COLUMNS = {
    "sampled": (np.int8, 0),
    "loss": (np.float32, np.nan),
    "accuracy": (np.float32, np.nan),
    "steps": (np.int32, 0),
    "up_bytes": (np.int64, 0),
    "down_bytes": (np.int64, 0),
    "seconds": (np.float32, 0),
    "window_first": (np.int16, -1),
    "window_last": (np.int16, -1),
    "width": (np.float32, np.nan),
    "time_share": (np.float32, np.nan),
    "memory_share": (np.float32, np.nan),
}
OPTIONAL = ("window_first", "window_last", "width", "time_share", "memory_share")


class ClientLog:
    """The rounds that are not in the result file yet, for the hosted clients.

    >>> log = ClientLog(hosted=2)
    >>> log.add(0, {"sampled": np.array([1, 0])})
    >>> first, columns = log.take()
    >>> first, columns["sampled"].tolist(), columns["steps"].tolist(), log.take()[1]["sampled"].shape
    (0, [[1, 0]], [[0, 0]], (0, 2))
    """

    def __init__(self, hosted: int):
        self._hosted = hosted
        self._rounds: list[tuple[int, dict[str, np.ndarray]]] = []

    def add(self, round: int, columns: dict[str, np.ndarray]) -> None:
        """Add a round. columns: (hosted,) by the names of COLUMNS; those that are missing hold what nobody did.

        Those of OPTIONAL are handed over on all ranks, or on none.
        """
        self._rounds.append((round, columns))

    def drop_after(self, round: int) -> None:
        """Drop the rounds ``round``, ``round`` + 1, ..."""
        self._rounds = [each for each in self._rounds if each[0] < round]

    def take(self) -> tuple[int, dict[str, np.ndarray]]:
        """Return the number of the first round, 0 if there is none, and all columns (rounds, hosted); forget them."""
        rounds, self._rounds = self._rounds, []
        left_out = set(OPTIONAL).difference(*(given for _, given in rounds))
        columns = {}
        for name, (dtype, nothing) in COLUMNS.items():
            if name in left_out:
                continue
            columns[name] = np.full((len(rounds), self._hosted), nothing, dtype)
            for row, (_, given) in zip(columns[name], rounds, strict=True):
                if name in given:
                    row[:] = given[name]
        return rounds[0][0] if rounds else 0, columns
