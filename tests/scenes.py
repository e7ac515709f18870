"""A random scene for tests of any part."""

import numpy as np

from pcseg.structures import Scene


def random_scene(name: str = "room", num: int = 300, seed: int = 0) -> Scene:
    """A scene of 2 m with everything but faces: labels of three classes, and ten superpoints."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(num, 3)).astype(np.float32)
    return Scene(
        name,
        rng.uniform(0, 2, (num, 3)).astype(np.float32),
        rng.integers(0, 256, (num, 3)).astype(np.uint8),
        normal / np.linalg.norm(normal, axis=1, keepdims=True),
        semantic=rng.integers(0, 3, num).astype(np.int32),
        instance=rng.integers(0, 4, num).astype(np.int32),
        superpoint=np.arange(num, dtype=np.int32) % 10,
    )
