"""The device that models run on."""

import torch


def pick_device(name: str | torch.device | None = None, index: int | None = None) -> torch.device:
    """The device to run on.

    Args:
        name: a device, or its name; by default CUDA if available, otherwise the CPU.
        index: number of the GPU where the name has none, for jobs of several processes.

    Raises:
        ValueError: no such device, or no CUDA device.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ValueError(f"device {name!r} is not known; expected cpu, cuda or cuda:0, cuda:1, ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name}: no CUDA device available; use cpu (--device cpu)")
    if device.type == "cuda" and device.index is None and index is not None:
        return torch.device("cuda", index)
    return device
