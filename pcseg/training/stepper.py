"""One step of training: gradients of a batch that comes in parts, over all processes, in any precision."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pcseg.data.dataset import split
from pcseg.losses.criterion import Criterion
from pcseg.models.voxel_batch_norm import synchronize
from pcseg.ops.precision import Precision, autocast
from pcseg.structures import SceneBatch, Targets
from pcseg.training.distributed import SINGLE_PROCESS, DistributedContext

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a step gave; its numbers stay on the device until someone reads them.

    Args:
        names: grad_norm, loss (the weighted sum), the losses, rooms (of all processes); without the losses where no
            room was left.
        values: of these names; NaN where no room was left.
        left_out: rooms that the memory of a process could not hold, of all processes.
    """

    names: list[str]
    values: Float[Tensor, "values"]
    left_out: list[str]


@dataclass(frozen=True)
class _Shortage:
    """Memory ran out on a part of the step, in this process (`is_here`) or in another one."""

    index: int
    is_here: bool


class Stepper:
    """Takes steps with a model; nothing in a step waits for the device.

    A step that has no finite loss and gradients changes nothing: the weights, what the optimizer remembers and the
    buffers stay as they were.

    Args:
        model: takes a SceneBatch on its own device.
        criterion: of its outputs.
        optimizer: over its parameters; on CUDA a fused one, which skips a step without being told by the host.
        clip_norm: largest gradient norm; 0 for any.
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
        precision: Precision = "float32",
        processes: DistributedContext = SINGLE_PROCESS,
    ) -> None:
        self.model, self.criterion, self.optimizer, self.processes = model, criterion, optimizer, processes
        self.clip_norm, self.precision = clip_norm, precision
        self.progress = 0.0  # fraction of training that is done, which the trainer sets
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

        Out of memory, a part is divided into its rooms, in all processes, and a room that fails alone is left out; each
        time all processes begin the step anew.

        Args:
            parts: of this process, as many as the others have.

        Raises:
            MemoryError: out of memory on a single voxel.
        """
        before = _flat(self.buffers)
        shares: list[SceneBatch | None] = [*parts]
        left_out: list[str] = []
        while isinstance(result := self._differentiate(shares, sample=parts[0]), _Shortage):
            _fill(self.buffers, before)
            left_out += self._relieve(shares, result)
        names, values = result
        if not shares:
            return Outcome(["grad_norm", *names], torch.cat([torch.full_like(values[:1], torch.nan), values]), left_out)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip_norm or torch.inf)
        self.scaler.step(self.optimizer)
        self.scaler.update(None if self.precision == "fp16" else 1.0)
        _fill(self.buffers, torch.where(norm.isfinite(), _flat(self.buffers), before))
        return Outcome(["grad_norm", *names], torch.cat([norm.to(values)[None], values]), left_out)

    def _differentiate(
        self, shares: Sequence[SceneBatch | None], sample: SceneBatch
    ) -> tuple[list[str], Float[Tensor, "values"]] | _Shortage:
        """Leaves gradients; gives loss, losses and rooms of all processes, or where memory ran out.

        Args:
            shares: of this process in each part; None where it has no room.
            sample: any rooms of this process, which a stand-in is made of.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = {"loss": torch.full((), torch.nan, device=self.device)}
        for index, (share, weight) in enumerate(zip(shares, self._weights(shares), strict=True)):
            losses = self._without_rooms(sample) if share is None else self._try(share, weight)
            if self.processes.any(losses is None):
                return _Shortage(index, is_here=losses is None)
            assert losses is not None
            total = {key: value + total[key] if index else value for key, value in losses.items()}
        num_rooms = sum(map(_num_rooms, shares))
        values = torch.stack([*total.values(), torch.full_like(total["loss"], num_rooms)])
        if shares and self.exchange is not None:
            self._sum_over_processes(values)
        return [*total, "rooms"], values

    def _try(self, share: SceneBatch, weight: float) -> dict[str, Float[Tensor, ""]] | None:
        """Adds the gradients of rooms and gives their losses; None where the memory cannot hold them."""
        if self.exchange is not None:
            self.exchange.begin()
        try:
            return self._differentiate_part(share, weight)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler, whose error holds on to what the rooms had in memory.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.exchange is not None:
            self.exchange.catch_up()
            self._stand_in(share)
        return None

    def _without_rooms(self, sample: SceneBatch) -> dict[str, Float[Tensor, ""]]:
        """What `_try` is for a process that has no room in a part: no gradients, and losses of 0."""
        assert self.exchange is not None
        self.exchange.begin(silent=True)
        gradients = [parameter.grad for parameter in self.parameters]
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._stand_in(sample)
        # Batch norms give the stand-in gradients of what the others have.
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        return {key: torch.zeros_like(value) for key, value in losses.items()}

    def _stand_in(self, sample: SceneBatch) -> dict[str, Float[Tensor, ""]]:
        """Sends what the others wait for, with a single voxel in the place of rooms.

        Raises:
            MemoryError: out of memory even so.
        """
        try:
            return self._differentiate_part(_single_voxel(sample), 0.0)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryError(
                f"process {self.processes.rank}: out of memory on {', '.join(sample.names)}, and still with a single "
                "voxel of it; use a smaller model or fewer processes"
            ) from None

    def _differentiate_part(self, part: SceneBatch, weight: float) -> dict[str, Float[Tensor, ""]]:
        batch = part.to(self.device)
        with autocast(self.device, self.precision):
            outputs = self.model(batch)
        losses = self.criterion(outputs, batch.targets, self.progress)
        total = self.criterion.total(losses)
        # A loss that is not finite makes gradients that are not, which the scaler looks for: one check finds both.
        weight_or_nan = torch.where(total.detach().isfinite(), weight, torch.nan)
        self.scaler.scale(total * weight_or_nan).backward()
        return {key: weight * value.detach() for key, value in {"loss": total, **losses}.items()}

    def _weights(self, shares: Sequence[SceneBatch | None]) -> list[float]:
        """Share of each part in the rooms of the step, over all processes."""
        if len(shares) < 2:
            return [1.0] * len(shares)
        num_rooms = self.processes.sum(torch.tensor([float(_num_rooms(share)) for share in shares]))
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
        _fill(every, self.processes.sum(_flat(every)))

    def _relieve(self, shares: list[SceneBatch | None], shortage: _Shortage) -> list[str]:
        """Divides the part that the memory of a process could not hold, or takes single rooms out of it.

        Returns:
            Names of the rooms that are left out, of all processes.
        """
        index, share = shortage.index, shares[shortage.index]
        divides, left_out = False, []
        if shortage.is_here:
            assert share is not None
            divides = len(share) > 1
            who = f"process {self.processes.rank}: " if self.processes.world > 1 else ""
            what = ": going on room by room" if divides else " alone: the room is left out of this step"
            logger.warning("%sout of memory on %s%s", who, ", ".join(share.names), what)
            if not divides:
                left_out, share = share.names, None
        told = self.processes.gather((divides, _num_rooms(share), left_out))
        num_rooms = max(num for _, num, _ in told)
        if num_rooms == 0 or any(divides for divides, _, _ in told):
            rooms = [] if share is None else split(share)
            shares[index : index + 1] = [*rooms, *[None] * (num_rooms - len(rooms))]
        else:
            shares[index] = share
        return [name for _, _, names in told for name in names]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU, where torch has no class for it."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _num_rooms(share: SceneBatch | None) -> int:
    return 0 if share is None else len(share)


def _single_voxel(batch: SceneBatch) -> SceneBatch:
    """A room of one voxel and one superpoint, not labeled, that costs no memory."""
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
