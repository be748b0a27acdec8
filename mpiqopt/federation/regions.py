"""Which region each client belongs to, for averages within regions and between them."""

import numpy as np

from mpiqopt.errors import UsageError, quote_in_error


def region_of(nodes: int, regions: int | list[int]) -> np.ndarray:
    """Return the region of every client, int64 (nodes,), numbered 0, 1, ..., none of them empty.

    regions: a number R, for contiguous parts of equal size (region r has the clients floor(r n/R) ..
    floor((r + 1) n/R) - 1); or a list with the region of each client. Raises UsageError if there are more regions than
    clients, or the list has another length or leaves out a number.

    >>> region_of(5, 2).tolist(), region_of(4, [1, 0, 0, 1]).tolist()
    ([0, 0, 1, 1, 1], [1, 0, 0, 1])
    """
    if isinstance(regions, list):
        return _checked(nodes, regions)
    if not 1 <= regions <= nodes:
        raise UsageError(f"algorithm.regions = {regions}: want 1 to topology.nodes = {nodes}")
    bounds = np.arange(1, regions) * nodes // regions
    return np.searchsorted(bounds, np.arange(nodes), side="right")


def _checked(nodes: int, regions: list[int]) -> np.ndarray:
    """Return the list as an array. Raises UsageError if it is no division of the clients."""
    if len(regions) != nodes:
        raise UsageError(
            f"algorithm.regions: a list of {len(regions)} regions for topology.nodes = {nodes} nodes; want one number, "
            "or one for each node"
        )
    named = set(regions)
    for region in range(len(named)):
        if region not in named:
            raise UsageError(
                f"algorithm.regions = {quote_in_error(regions)}: nobody is in region {region}; want the numbers 0 to "
                f"{len(named) - 1}, each at least once"
            )
    return np.array(regions, np.int64)
