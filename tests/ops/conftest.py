import numpy as np
import torch
from torch import Tensor


def random_coords(rng: np.random.Generator, num_voxels: int, batch_size: int = 2, size: int = 10) -> Tensor:
    """Unique voxels in random order, int32 (V, 4)."""
    cells = rng.choice(batch_size * size**3, num_voxels, replace=False)
    parts = np.unravel_index(cells, (batch_size, size, size, size))
    return torch.from_numpy(np.stack(parts, axis=1).astype(np.int32))
