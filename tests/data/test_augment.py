import numpy as np
import pytest

from pcseg.data import augment
from pcseg.data.augment import AUGMENTATIONS, AugmentStep, CropCuboid, CropPoints, Elastic, Holes, Mix, Scale, compose
from pcseg.kernels.elastic import displaced
from pcseg.structures import Scene
from tests.conftest import holds, refuses
from tests.reference import elastic as slow
from tests.scenes import random_scene


@pytest.fixture
def scene() -> Scene:
    return random_scene(num=500)


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "mix"])
def test_same_generator_same_result_input_untouched_and_bare_rooms(scene: Scene, name: str) -> None:
    before = scene.xyz.copy(), scene.rgb.copy()
    first, second = (AUGMENTATIONS[name]()(scene, np.random.default_rng(3)) for _ in range(2))
    for key in ("xyz", "rgb", "normal", "semantic", "instance", "superpoint"):
        np.testing.assert_array_equal(getattr(first, key), getattr(second, key))
        assert getattr(first, key).dtype == getattr(scene, key).dtype
    holds(scene, xyz=before[0], rgb=before[1])
    for num in (0, 1):
        result = AUGMENTATIONS[name]()(Scene("bare", np.ones((num, 3), np.float32)), np.random.default_rng(0))
        assert (len(result), result.rgb) == (num, None)


def test_moves_keep_distances_and_stay_in_range(scene: Scene) -> None:
    for move in (augment.Flip(), augment.Rotate()):
        moved = move(scene, np.random.default_rng(1))
        distance = np.linalg.norm(scene.xyz[:100] - scene.xyz[100:200], axis=1)
        np.testing.assert_allclose(np.linalg.norm(moved.xyz[:100] - moved.xyz[100:200], axis=1), distance, rtol=1e-4)
        along = (scene.normal * (scene.xyz - scene.xyz[0])).sum(1)
        np.testing.assert_allclose((moved.normal * (moved.xyz - moved.xyz[0])).sum(1), along, atol=1e-4)
        np.testing.assert_allclose(moved.xyz[:, 2], scene.xyz[:, 2], atol=1e-5)
    factors = [Scale(0.8, 1.2)(scene, np.random.default_rng(i)).xyz[0, 0] / scene.xyz[0, 0] for i in range(20)]
    assert 0.8 <= min(factors) < 0.95 < 1.05 < max(factors) <= 1.2


def test_elastic_bends_smoothly(scene: Scene, rng: np.random.Generator) -> None:
    elastic = Elastic(granularity=0.5, magnitude=0.3, probability=1.0)
    shift = elastic(scene, np.random.default_rng(0)).xyz - scene.xyz
    assert 0.01 < np.abs(shift).mean() < 0.3
    near = scene.with_(xyz=scene.xyz + np.float32(0.01))
    assert np.abs((elastic(near, np.random.default_rng(0)).xyz - near.xyz) - shift).max() < 0.05
    refuses("elastic would need", elastic, scene.with_(xyz=scene.xyz * np.float32(1000)), rng)
    xyz = rng.uniform(-2, 3, (300, 3)).astype(np.float32)
    low = xyz.min(0)
    field = rng.standard_normal((14, 14, 14, 3)).astype(np.float32)
    moved = displaced(xyz, low, np.float32(0.5), field, np.float32(2))
    np.testing.assert_allclose(moved, slow.displaced(xyz, low, 0.5, field, 2), atol=1e-4)


def test_crops_keep_rows_together(scene: Scene) -> None:
    cuboid = CropCuboid(size=2.0)
    thin = augment.DropPoints(share=0.9), augment.ThinObjects(probability=1.0), Holes(count=20, radius=1.0)
    limit = augment.LimitObjects(low=20, high=20, probability=1.0)
    for crop in (cuboid, CropPoints(max_points=100), *thin, limit):
        part = crop(scene, np.random.default_rng(0))
        assert 0 < len(part) < len(scene)
        rows = [np.flatnonzero((scene.xyz == point).all(1))[0] for point in part.xyz]
        holds(part, superpoint=scene.superpoint[rows], instance=scene.instance[rows])
    for number in (100, 100.0):
        assert len(CropPoints(max_points=number)(scene, np.random.default_rng(0))) == 100
    assert np.ptp(cuboid(scene, np.random.default_rng(0)).xyz[:, :2], axis=0).max() <= 2.0
    assert CropCuboid(probability=0.0)(scene, np.random.default_rng(0)) is scene
    assert len(Holes(count=20, radius=100.0)(scene, np.random.default_rng(0))) > 0


def test_compose_applies_in_order_and_names_mistakes(scene: Scene) -> None:
    both = compose([("scale", {"low": 2.0, "high": 2.0}), ("crop_cuboid", {"size": 100.0})])
    np.testing.assert_allclose(both(scene, np.random.default_rng(0)).xyz, scene.xyz * 2, rtol=1e-6)
    refuses("options of scale: unknown 'hihg'; known: low, high", AugmentStep, "scale", {"hihg": 1.0})
    chain = compose([("crop_points", {"max_points": 40}), ("mix", {"probability": 1.0}), ("scale", {})])
    first = chain(scene, np.random.default_rng(1), lambda rng: scene)
    assert len(first) == 80
    np.testing.assert_array_equal(first.xyz, chain(scene, np.random.default_rng(1), lambda rng: scene).xyz)
    refuses("mix needs a second room", chain, scene, np.random.default_rng(1))
    refuses("options of mix: unknown 'partner'; known: probability", compose, [("mix", {"partner": 1.0})])


def test_mix_keeps_instances_and_superpoints_apart(scene: Scene) -> None:
    other = scene.with_(name="other", xyz=scene.xyz + np.float32(100))
    mix, num = Mix(probability=1.0), len(scene)
    mixed = mix(scene, np.random.default_rng(0), lambda rng: other)
    assert len(mixed) == 2 * num
    for key in ("xyz", "rgb", "normal", "semantic", "instance", "superpoint"):
        np.testing.assert_array_equal(getattr(mixed, key)[:num], getattr(scene, key), strict=True)
    np.testing.assert_allclose(mixed.xyz[num:], scene.xyz, atol=1e-4)
    np.testing.assert_array_equal(mixed.superpoint[num:], scene.superpoint + 10)
    inside = scene.instance > 0
    np.testing.assert_array_equal(mixed.instance[num:][inside], scene.instance[inside] + scene.instance.max())
    assert (mixed.instance[num:][~inside] == 0).all()
    assert Mix(probability=0.0)(scene, np.random.default_rng(0), lambda rng: other) is scene
    refuses("cannot be mixed: bare has no rgb", mix, scene, np.random.default_rng(), lambda _: Scene("bare", scene.xyz))
