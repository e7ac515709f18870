"""Number formats of the network's products, by the names that configs and command lines use."""

import torch

from pcseg.choices import Precision as Precision

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which a network computes in one of DTYPES; float32 is the format of the weights."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32")
