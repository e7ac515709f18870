"""A device that stands in for a GPU: its tensors compute on the CPU, but mixing them with the CPU's is an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_iter, tree_map_only

NAME = "meta"  # a device type that every torch has, and that autograd runs without streams
# A GPU tensor takes indices of the CPU, and copies between devices.
_MIXES = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.copy_.default}


class _Moved(Tensor):
    """A tensor of the other device; `values` is on the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "_Moved":
        kind: dict[str, Any] = {"dtype": values.dtype, "device": NAME, "requires_grad": values.requires_grad}
        made = Tensor._make_wrapper_subclass(cls, values.shape, strides=values.stride(), **kind)  # type: ignore[attr-defined]
        made.values = values
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"moved {self.values}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
    moved = any(isinstance(t, _Moved) for t in tensors)
    assert not any(t.is_meta and not isinstance(t, _Moved) for t in tensors), f"{func} got a tensor without values"
    if moved and func not in _MIXES and any(t.ndim and not isinstance(t, _Moved) for t in tensors):
        raise RuntimeError(f"{func} got tensors of two devices: {[(t.device.type, tuple(t.shape)) for t in tensors]}")
    if moved and func is torch.ops.aten.index.Tensor and not isinstance(args[0], _Moved):
        raise RuntimeError(f"{func} of a CPU tensor got indices of the GPU")
    target = kwargs.get("device")
    if target is not None:
        moved, kwargs = torch.device(target).type == NAME, {**kwargs, "device": "cpu"}
    plain_args, plain_kwargs = tree_map_only(_Moved, lambda t: t.values, (args, kwargs))
    out = func(*plain_args, **plain_kwargs)
    if not moved:
        return out
    return return_and_correct_aliasing(func, args, kwargs, tree_map_only(Tensor, _Moved, out))


class _OtherDevice(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def other_device() -> Iterator[torch.device]:
    """Inside, tensors and modules can be moved to the device that this gives."""
    autocast, tensor = torch.autocast, torch.tensor

    def made(data: Any, device: Any = None, **kwargs: Any) -> Tensor:
        return tensor(data, **kwargs).to(device or "cpu")

    with pytest.MonkeyPatch.context() as patch, _OtherDevice():
        patch.setattr(torch, "tensor", made)  # the modes of torch do not see the device of this one
        patch.setattr(torch, "autocast", lambda device, *args, **kwargs: autocast("cpu", *args, **kwargs))
        yield torch.device(NAME)
