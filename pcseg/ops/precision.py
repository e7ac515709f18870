"""Number formats of the network's products, by the names that configs and command lines use."""

import torch

from pcseg.choices import AnyPrecision as AnyPrecision
from pcseg.choices import Precision as Precision
from pcseg.kernels.conv import FAST_BF16, HAS_BF16

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which a network computes in one of DTYPES; float32 is the format of the weights."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "float32")


def halves_on_cpu(precision: AnyPrecision) -> bool:
    """Whether convolutions on the CPU multiply bfloat16 in a prediction of this precision; sums are float32.

    Raises:
        ValueError: the CPU cannot.
    """
    if precision == "fp16" or (precision == "bf16" and not HAS_BF16):
        raise ValueError(f"precision {precision}: this CPU cannot multiply it; use auto or float32, or a GPU")
    return FAST_BF16 if precision == "auto" else precision == "bf16"
