"""One step of training: gradients of a batch that comes in parts, over all processes, in any precision."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pcseg.data.dataset import split
from pcseg.engine.distributed import ALONE, Processes
from pcseg.losses.criterion import Criterion
from pcseg.models.voxel_batch_norm import synchronize
from pcseg.structures import SceneBatch, Targets

Precision = Literal["float32", "bf16", "fp16"]
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a step gave; its numbers stay on the device until someone reads them.

    Args:
        names: grad_norm, loss (the weighted sum), the losses, rooms (of all processes); without the losses where no
            room was left.
        values: of these names; NaN where no room was left.
        left_out: rooms that the memory of this process could not hold.
    """

    names: list[str]
    values: Float[Tensor, "values"]
    left_out: list[str]


class Stepper:
    """Takes steps with a model; there is no transfer from the device in a step, and one message between processes.

    A step that has no finite loss and gradients changes nothing: the weights, what the optimizer remembers and the
    buffers stay as they were.

    Args:
        model: takes a SceneBatch on its own device.
        criterion: of its outputs.
        optimizer: over its parameters; on CUDA a fused one, which skips a step without being told by the host.
        clip_norm: largest gradient norm; 0 for any.
        deep_supervision: whether intermediate layers are trained directly.
        precision: of the model's products; weights, losses and gradients are float32.
        processes: that share the rooms of each step.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        *,
        clip_norm: float = 0.0,
        deep_supervision: bool = True,
        precision: Precision = "float32",
        processes: Processes = ALONE,
    ) -> None:
        self.model, self.criterion, self.optimizer, self.processes = model, criterion, optimizer, processes
        self.clip_norm, self.deep_supervision, self.precision = clip_norm, deep_supervision, precision
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.buffers = [b for b in model.buffers() if b.is_floating_point()]
        self.device = self.parameters[0].device
        # Only fp16 needs a scale; with a scale of 1 the scaler still keeps the optimizer from what is not finite.
        first = 2.0**16 if precision == "fp16" else 1.0
        self.scaler = torch.amp.GradScaler(self.device.type, init_scale=first)
        criterion.check_values = False
        self.exchange = synchronize(model) if processes.world > 1 else None
        criterion.sum_counts = self.exchange.sum if self.exchange else None

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on besides the weights, for a checkpoint."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint; one without a scaler is of a time when all runs were in float32."""
        self.optimizer.load_state_dict(state["optimizer"])
        if "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])

    def step(self, parts: Sequence[SceneBatch]) -> Outcome:
        """Train on the rooms of all parts at once; the loss is the mean of the parts', weighed by their rooms.

        Out of memory, a part is divided into its rooms, and a room that fails alone is left out. Where other processes
        wait for this one the whole part is left out, as their messages have begun.

        Raises:
            MemoryError: out of memory on a single voxel.
        """
        before = _flat(self.buffers)
        parts, left_out = list(parts), []
        while isinstance(result := self._differentiate(parts, left_out), int):
            _fill(self.buffers, before)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            left_out += self._relieve(parts, failed=result)
        names, values = result
        if not parts:
            return Outcome(["grad_norm", *names], torch.cat([torch.full_like(values[:1], torch.nan), values]), left_out)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip_norm or torch.inf)
        self.scaler.step(self.optimizer)
        self.scaler.update(None if self.precision == "fp16" else 1.0)
        _fill(self.buffers, torch.where(norm.isfinite(), _flat(self.buffers), before))
        return Outcome(["grad_norm", *names], torch.cat([norm.to(values)[None], values]), left_out)

    def _differentiate(
        self, parts: Sequence[SceneBatch], left_out: list[str]
    ) -> tuple[list[str], Float[Tensor, "values"]] | int:
        """Leaves gradients; gives loss, losses and rooms of all processes, or which part the memory could not hold.

        With several processes such a part is replaced by a stand-in, and its rooms are added to `left_out`.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = {"loss": torch.full((), torch.nan, device=self.device)}
        num_rooms, gradients = 0, []
        for index, (part, weight) in enumerate(zip(parts, self._weights(parts), strict=True)):
            if self.exchange is not None:
                self.exchange.begin()
                gradients = [None if p.grad is None else p.grad.clone() for p in self.parameters]
            try:
                losses = self._differentiate_part(part, weight)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                losses = None
            # Outside of the handler, whose error holds on to what the part had in memory.
            if losses is not None:
                num_rooms += len(part)
            elif self.exchange is None:
                return index
            else:
                losses = self._stand_in_for(part)
                left_out += part.names
                # Batch norms give the stand-in gradients of what the others have.
                for parameter, gradient in zip(self.parameters, gradients, strict=True):
                    parameter.grad = gradient
            total = {key: value + total[key] if index else value for key, value in losses.items()}
        values = torch.stack([*total.values(), torch.full_like(total["loss"], num_rooms)])
        if self.exchange is not None:
            self._sum_over_processes(values)
        return [*total, "rooms"], values

    def _stand_in_for(self, part: SceneBatch) -> dict[str, Float[Tensor, ""]]:
        """Sends what the others still wait for of a part that the memory could not hold; the losses are 0.

        Raises:
            MemoryError: out of memory again.
        """
        assert self.exchange is not None
        names = ", ".join(part.names)
        logger.warning(
            "process %d: out of memory on %s: left out of this step; lower train.batch_size or train.max_voxels, raise "
            "train.accumulate, or set model.unet.checkpointing",
            self.processes.rank,
            names,
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.exchange.begin_again()
        try:
            losses = self._differentiate_part(_single_voxel(part), 0.0)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryError(
                f"process {self.processes.rank}: out of memory on {names}, and still with a single voxel of it; use a "
                "smaller model or fewer processes"
            ) from None
        return {key: torch.zeros_like(value) for key, value in losses.items()}

    def _differentiate_part(self, part: SceneBatch, weight: float) -> dict[str, Float[Tensor, ""]]:
        batch = part.to(self.device)
        dtype = DTYPES[self.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            outputs = self.model(batch)
        if not self.deep_supervision:
            outputs.pop("aux_outputs")
        losses = self.criterion(outputs, batch.targets)
        total = self.criterion.total(losses)
        # A loss that is not finite makes gradients that are not, which the scaler looks for: one check finds both.
        weight_or_nan = torch.where(total.detach().isfinite(), weight, torch.nan)
        self.scaler.scale(total * weight_or_nan).backward()
        return {key: weight * value.detach() for key, value in {"loss": total, **losses}.items()}

    def _weights(self, parts: Sequence[SceneBatch]) -> list[float]:
        """Share of each part in the rooms of the step, over all processes."""
        if len(parts) == 1:
            return [1.0]
        num_rooms = self.processes.sum(torch.tensor([float(len(part)) for part in parts]))
        return (num_rooms / num_rooms.sum()).tolist()

    def _sum_over_processes(self, values: Float[Tensor, "values"]) -> None:
        """Adds up gradients and numbers in place, in one message after backward.

        torch's DistributedDataParallel sends while backward runs, among the messages of the batch norms; the order of
        the two is not the same everywhere once one process has a parameter without a gradient, as a room without
        instances may. One message cannot come in another order, and it serves any number of parts.
        """
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        every = [*gradients, values]
        total = self.processes.sum(_flat(every))
        # Without any room nothing may change, and what is not finite changes nothing.
        _fill(every, torch.where(total[-1] > 0, total, torch.nan))
        values[-1] = total[-1]

    def _relieve(self, parts: list[SceneBatch], failed: int) -> list[str]:
        """Divides a part that the memory could not hold; gives the names of what is left out."""
        part = parts[failed]
        names = ", ".join(part.names)
        parts[failed : failed + 1] = split(part) if len(part) > 1 else []
        if len(part) > 1:
            logger.warning("out of memory on %s: going on room by room", names)
            return []
        logger.warning("out of memory on %s alone: the room is left out of this step", names)
        return part.names


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU, where torch has no class for it."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _single_voxel(batch: SceneBatch) -> SceneBatch:
    """A room of one voxel and one superpoint, not labelled, that costs no memory."""
    targets = None
    if batch.targets is not None:
        first = batch.targets[0]
        target: Targets = {"labels": first["labels"][:0], "instance_labels": first["instance_labels"][:1] * 0 - 1}
        if "point_counts" in first:
            target["point_counts"] = first["point_counts"][:1]
        if "semantic_labels" in first:
            target["semantic_labels"] = first["semantic_labels"][:1] * 0 - 1
        if "centers" in first:
            target["centers"] = first["centers"][:0]
        targets = [target]
    return SceneBatch(
        voxel_coords=torch.zeros_like(batch.voxel_coords[:1]),
        voxel_features=batch.voxel_features[:1],
        pair_voxel=torch.zeros_like(batch.pair_voxel[:1]),
        pair_superpoint=torch.zeros_like(batch.pair_superpoint[:1]),
        pair_points=batch.pair_points[:1],
        superpoint_xyz=batch.superpoint_xyz[:1],
        superpoint_offsets=torch.tensor([0, 1]),
        names=batch.names[:1],
        targets=targets,
    )


def _flat(tensors: Sequence[Tensor]) -> Float[Tensor, "total"]:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors]) if tensors else torch.empty(0)


@torch.no_grad()
def _fill(tensors: Sequence[Tensor], flat: Float[Tensor, "total"]) -> None:
    """The inverse of `_flat`."""
    if tensors:
        for tensor, values in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(values.view_as(tensor))
