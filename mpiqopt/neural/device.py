"""Which device computes the networks of a rank."""

import torch

from mpiqopt.errors import UsageError


def choose_device(wanted: str, local_rank: int) -> torch.device:
    """Return the device of a rank: "cpu", "cuda", or "auto" for a GPU where PyTorch finds one.

    local_rank : number of the rank on its host: ranks of a host take its GPUs in turn. Raises UsageError for "cuda"
    without a GPU.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("run.device = 'cuda': PyTorch finds no GPU here; want 'auto' or 'cpu'")
    return torch.device("cuda", local_rank % torch.cuda.device_count())
