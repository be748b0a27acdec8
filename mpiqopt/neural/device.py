"""Which device computes the networks of a rank, and which there are."""

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


def describe_devices() -> str:
    """Return PyTorch's version, and what it can compute on here, as ``mpiqopt doctor`` prints them."""
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return f"PyTorch {torch.__version__} on {', '.join(gpus) or 'CPUs alone: it finds no GPU'}"
