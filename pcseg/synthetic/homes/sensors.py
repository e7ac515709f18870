"""Simulated sensors that turn surfaces into scans: depth cameras in the hand or on a tripod, and a laser scanner."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32
from scipy.ndimage import zoom
from scipy.sparse import coo_array, csr_array, diags_array, eye_array
from scipy.sparse.csgraph import connected_components

from pcseg.choices import Sensor as Sensor
from pcseg.classes import class_set
from pcseg.ops.overlap import group_bounds
from pcseg.structures import Scene
from pcseg.synthetic.homes.room import CELL, Room
from pcseg.synthetic.homes.surfaces import RayCaster, Surfaces

WIDTH, HEIGHT, FOCAL = 192, 144, 173.0  # a depth camera at 3/10 of its resolution, in pixels
MIN_DEPTH, MAX_DEPTH = 0.4, 6.0  # meters
PITCHES = (-0.8, -0.1, 0.6, 1.3)  # of a depth camera on a tripod, in radians
MIN_INSTANCE_POINTS = 20
MIN_PIECE_TRIANGLES = 60  # smaller loose pieces of a mesh are noise
# Gaps between things in meters, see `join_things`: in the plan on desks and elsewhere, and in height.
DESK_GAP, FLOOR_GAP, HEIGHT_GAP = 0.5, 0.2, 0.1
THINGS = ("television", "lamp", "plant", "trash can", "box", "bag", "other object")


def scan_home(surfaces: Surfaces, rooms: list[Room], name: str, sensor: Sensor, rng: np.random.Generator) -> Scene:
    """Scans a home.

    Args:
        surfaces: all of its surfaces.
        rooms: its rooms, which the sensor walks through.
        name: name of the scene.
        sensor: "rgbd" gives a fused mesh, "phone" and "panorama" the points of one; "tripod" gives points of a laser.
        rng: random numbers of noise, path and light.

    Returns:
        Scene with colors, classes of the set `indoor`, and instances, 0 for none.

    Raises:
        ValueError: the sensor saw nothing.
    """
    caster = RayCaster(surfaces)
    if sensor == "tripod":
        xyz, normal, albedo, instance, faces = _laser_scan(caster, rooms, rng)
    else:
        xyz, normal, albedo, instance, faces = _fused_scan(caster, rooms, sensor, rng)
    lights = [light for room in rooms for light in room.lights]
    shade = _light(caster, xyz, normal, lights, rng)
    if faces is not None:
        shade = _smooth_over_mesh(shade, faces, steps=6)
    rgb = _develop(albedo, shade, rng)
    names = class_set("indoor").names
    labels = np.array([-1, *(names.index(label) for label in surfaces.labels)])
    if sensor in ("tripod", "panorama"):
        instance, labels = join_things(xyz, instance, labels)
    count = np.bincount(instance, minlength=len(labels))
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.1 else rng.integers(4) * np.pi / 2 + rng.normal(0, 0.03)
    cos, sin = np.cos(turn), np.sin(turn)
    xyz = (xyz - (xyz.min(axis=0) + xyz.max(axis=0)) / 2 * (1, 1, 0)) @ np.array(
        [[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]
    )
    return Scene(
        name,
        xyz.astype(np.float32),
        rgb,
        semantic=labels[instance].astype(np.int32),
        instance=np.where(count[instance] >= MIN_INSTANCE_POINTS, instance, 0).astype(np.int32),
        faces=faces,
    )


def join_things(xyz: np.ndarray, instance: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Makes small things that are close together one "other object", as the labels of S3DIS do with a full desk.

    Args:
        xyz: points, before they are turned.
        instance: instance of each point, from 1 on.
        labels: class of each instance, from 0 on.
    """
    names = class_set("indoor").names
    low, high = group_bounds(xyz, instance, len(labels))
    size = high - low
    is_thing = np.isin(labels, [names.index(name) for name in THINGS])
    # Neither on a wall nor below the ceiling, and not furniture.
    is_thing &= (size[:, :2].min(axis=1) > 0.08) & (low[:, 2] < 1.3) & (size[:, 2] < 0.7)
    things = np.flatnonzero(is_thing)
    gap = np.maximum(low[things, None] - high[None, things], low[None, things] - high[things, None])
    on_desk = low[things, 2] > 0.5
    most = np.where(on_desk[:, None] & on_desk, DESK_GAP, FLOOR_GAP)
    _, group = connected_components((gap[..., :2] < most[..., None]).all(axis=-1) & (gap[..., 2] < HEIGHT_GAP))
    first, group, count = np.unique(group, return_index=True, return_inverse=True, return_counts=True)[1:]
    joined = np.arange(len(labels))
    joined[things] = things[first][group]
    labels = labels.copy()
    labels[things[first[count > 1]]] = names.index("other object")
    return joined[instance], labels


# A depth camera that is carried around, or turns on a tripod.


def camera_path(room: Room, num_frames: int, rng: np.random.Generator) -> list[tuple[np.ndarray, float, float]]:
    """Position, yaw and pitch of each frame: from one free place to the next, turning all the time.

    Args:
        room: the room to walk through.
        num_frames: frames of the path.
        rng: random numbers of the path.
    """
    extent = np.array([room.width, room.depth])
    free = _places(room, room.is_walkable)
    stops = free[rng.integers(len(free), size=rng.integers(5, 10))]
    t = np.linspace(0, len(stops) - 1, num_frames)
    plan = np.stack([np.interp(t, np.arange(len(stops)), stops[:, axis]) for axis in range(2)], axis=1)
    turns = rng.uniform(2.0, 4.0) * rng.choice([-1, 1])
    yaw = rng.uniform(0, 6.28) + np.linspace(0, 2 * np.pi * turns, num_frames) + _wander(num_frames, 5, 0.5, rng)
    # Near a wall one turns to the other side of the room.
    to_middle = extent / 2 - plan
    inward = np.arctan2(to_middle[:, 1], to_middle[:, 0])
    yaw += 0.6 * np.linalg.norm(to_middle / (extent / 2), axis=1) * np.sin(inward - yaw)
    pitch = rng.uniform(-0.65, -0.4) + _wander(num_frames, 8, 0.25, rng)
    if rng.random() < 0.3:  # some look up and down
        pitch += 0.3 * np.sin(np.linspace(0, rng.uniform(10, 40), num_frames)) + 0.2
    height = rng.uniform(1.3, 1.65) + _wander(num_frames, 6, 0.12, rng)
    return [(room.world(place, z), turn, tilt) for place, z, turn, tilt in zip(plan, height, yaw, pitch)]


def _turning_path(room: Room, rng: np.random.Generator) -> list[tuple[np.ndarray, float, float]]:
    """Position, yaw and pitch of each frame: full turns at a few places, from the floor to the ceiling."""
    stops = _stops(room, rng.integers(2, 5) + room.width * room.depth / 12, rng)
    yaws = np.arange(8) * np.pi / 4
    return [(eye, yaw + k, pitch) for k, eye in enumerate(stops) for pitch in PITCHES for yaw in yaws]


def _stops(room: Room, num: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Where a tripod stands: about `num` free places, 1 to 8, at the height of the sensor."""
    free = _places(room, room.is_walkable & room.is_free)
    places = free[rng.integers(len(free), size=int(np.clip(num, 1, 8)))]
    return [room.world(place, rng.uniform(1.2, 1.8)) for place in places]


def _camera_pose(position: np.ndarray, yaw: float, pitch: float) -> Float64[np.ndarray, "4 4"]:
    """Camera to world; the camera looks along z, y points down."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = position
    return pose


def _places(room: Room, cells: Bool[np.ndarray, "X Y"]) -> Float64[np.ndarray, "N 2"]:
    """Places of some cells of the floor, away from the walls if there are enough; the middle if there are none."""
    extent = np.array([room.width, room.depth])
    free = np.argwhere(cells) * CELL
    inner = free[(free > 0.35).all(axis=1) & (free < extent - 0.35).all(axis=1)]
    return inner if len(inner) > 4 else free if len(free) else extent[None] / 2


def _wander(count: int, num_knots: int, size: float, rng: np.random.Generator) -> np.ndarray:
    return np.interp(np.linspace(0, num_knots - 1, count), np.arange(num_knots), rng.normal(0, size, num_knots))


def _depth_image(
    caster: RayCaster, pose: np.ndarray, pixels: np.ndarray, reach: float, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Depth along the camera's axis in meters, 0 for none, and color as the camera measures them."""
    direction = pixels @ pose[:3, :3].T
    hits = caster.cast(pose[:3, 3], direction)
    depth = np.where(hits.triangle >= 0, hits.depth, 0.0)  # pixels have z = 1
    cosine = np.abs((hits.normal * direction).sum(axis=-1)) / np.linalg.norm(direction, axis=-1)
    lost = (depth < MIN_DEPTH) | (depth > reach * rng.uniform(0.9, 1.1, depth.shape))
    lost |= cosine < rng.uniform(0.08, 0.28, depth.shape)
    lost |= rng.random(depth.shape) < caster.dropout[caster.material[hits.triangle]]
    lost[:, 2:] |= depth[:, 2:] - depth[:, :-2] > 0.08 * depth[:, :-2]  # in the shadow of the projector
    coarse = rng.normal(0, 1, (HEIGHT // 12 + 2, WIDTH // 12 + 2))
    smooth = zoom(coarse, 12, order=1)[:HEIGHT, :WIDTH]
    sigma = noise * (0.0012 + 0.0019 * (depth - 0.4) ** 2)
    depth = depth + sigma * (3.0 * smooth + rng.normal(0, 0.7, depth.shape))
    return np.where(lost, 0, depth).astype(np.float32), hits.rgb


def _fused_scan(
    caster: RayCaster, rooms: list[Room], sensor: Sensor, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Int32[np.ndarray, "F 3"] | None]:
    """Points, normals, colors, instances and faces of frames that are fused into one mesh; only "rgbd" gives faces."""
    import open3d

    o3d: Any = open3d  # without types
    area = sum(room.width * room.depth for room in rooms)
    turns = sensor == "panorama"
    coarse = {"phone": (0.03, 0.045), "panorama": (0.025, 0.035)}
    voxel = float(rng.uniform(*coarse[sensor])) if sensor in coarse else 0.02 if area < 14 else 0.026
    # The volume of Open3D 0.20's pipelines.integration gives empty meshes; this one works.
    volume: Any = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"), (o3d.core.float32,) * 3, ((1), (1), (3)), voxel, 16, 6000
    )
    reach, noise = rng.uniform(3.2, 4.6), rng.uniform(0.7, 1.8)
    if turns:
        reach, noise = reach + 1.4, noise * 0.4
    white = rng.uniform((0.95, 0.9, 0.72), (1.05, 1.0, 1.0))
    for room in rooms:
        num_frames = int(np.clip(rng.uniform(4, 7) * room.width * room.depth, 50, 200))
        views = _turning_path(room, rng) if turns else camera_path(room, num_frames, rng)
        _fuse(volume, caster, views, reach, noise, white, rng)
    # Frames of a tripod hardly overlap.
    mesh = volume.extract_triangle_mesh(weight_threshold=0.5 if turns else 1.5).to_legacy()
    piece, size, _ = mesh.cluster_connected_triangles()
    mesh.remove_triangles_by_mask(np.asarray(size)[np.asarray(piece)] < MIN_PIECE_TRIANGLES)
    mesh.remove_unreferenced_vertices()
    if not len(mesh.vertices):
        raise ValueError("the camera saw nothing")
    # Open3D's threads give the vertices and triangles in any order.
    order = np.lexsort(np.asarray(mesh.vertices).T)
    triangles = np.argsort(order)[np.asarray(mesh.triangles)]
    mesh.vertices = o3d.utility.Vector3dVector(np.asarray(mesh.vertices)[order])
    mesh.vertex_colors = o3d.utility.Vector3dVector(np.asarray(mesh.vertex_colors)[order])
    mesh.triangles = o3d.utility.Vector3iVector(triangles[np.lexsort(triangles.T)])
    mesh.compute_vertex_normals()
    xyz, normal = np.asarray(mesh.vertices), np.asarray(mesh.vertex_normals)
    rgb, faces = np.asarray(mesh.vertex_colors) * 255, np.asarray(mesh.triangles).astype(np.int32)
    if sensor != "rgbd":
        (xyz, normal, rgb), faces = _resample((xyz, normal, rgb), faces, rng), None
    return xyz, normal, rgb, caster.nearest_instance(xyz), faces


def _fuse(
    volume: Any,
    caster: RayCaster,
    views: list[tuple[np.ndarray, float, float]],
    reach: float,
    noise: float,
    white: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Integrates a frame of each view into a volume of Open3D; poses drift, and exposure changes."""
    import open3d

    o3d: Any = open3d  # without types
    tensor, num_frames = o3d.core.Tensor, len(views)
    camera = tensor(np.array([[FOCAL, 0, WIDTH / 2 - 0.5], [0, FOCAL, HEIGHT / 2 - 0.5], [0, 0, 1]]))
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    pixels = np.stack([(u - WIDTH / 2 + 0.5) / FOCAL, (v - HEIGHT / 2 + 0.5) / FOCAL, np.ones(u.shape)], axis=-1)
    exposure = np.exp(_wander(num_frames, 8, 0.1, rng))
    shift = np.stack([_wander(num_frames, 8, 0.006, rng) for _ in range(3)], axis=1)
    twist = np.stack([_wander(num_frames, 8, 0.002, rng) for _ in range(3)], axis=1)
    for k, view in enumerate(views):
        pose = _camera_pose(*view)
        depth, rgb = _depth_image(caster, pose, pixels, reach, noise, rng)
        if (depth > 0).mean() < 0.05:  # Open3D raises on a frame without depth
            continue
        rgb = np.clip(rgb * exposure[k] * white + rng.normal(0, 5, rgb.shape), 0, 255)
        pose[:3, 3] += shift[k]
        pose[:3, :3] = o3d.geometry.get_rotation_matrix_from_xyz(twist[k]) @ pose[:3, :3]
        image = o3d.t.geometry.Image(tensor(depth))
        color = o3d.t.geometry.Image(tensor(rgb.astype(np.float32) / 255))
        inverse = tensor(np.linalg.inv(pose))
        blocks = volume.compute_unique_block_coordinates(image, camera, inverse, 1.0, MAX_DEPTH, 3.0)
        volume.integrate(blocks, image, color, camera, camera, inverse, 1.0, MAX_DEPTH, 3.0)


def _resample(vertices: tuple[np.ndarray, ...], faces: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Points, normals and colors at random places of a mesh, about one per 4 square centimeters."""
    corners = vertices[0][faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    spacing = rng.uniform(0.015, 0.03)
    num = int(np.clip(area.sum() / spacing**2, 10_000, 400_000))
    face = faces[np.searchsorted(np.cumsum(area / area.sum())[:-1], rng.random(num))]
    a, b = np.sort(rng.random((2, num)), axis=0)
    weights = np.stack([a, b - a, 1 - b], axis=1)[..., None]
    return [(value[face] * weights).sum(axis=1) for value in vertices]


# A laser that turns on a tripod.


def _laser_scan(
    caster: RayCaster, rooms: list[Room], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, None]:
    """Points, normals, colors and instances from a few places; near surfaces are thinned."""
    found = []
    step = np.deg2rad(rng.uniform(0.25, 0.4))
    range_noise = rng.uniform(0.001, 0.004)
    for room in rooms:
        for eye in _stops(room, rng.integers(1, 4) + room.width * room.depth / 20, rng):
            azimuth = np.arange(rng.uniform(0, step), 2 * np.pi, step)
            elevation = np.arange(np.deg2rad(-60), np.pi / 2, step)
            around, up = np.meshgrid(azimuth, elevation)
            direction = np.stack([np.cos(around) * np.cos(up), np.sin(around) * np.cos(up), np.sin(up)], axis=-1)
            hits = caster.cast(eye, direction)
            cosine = np.abs((hits.normal * direction).sum(axis=-1))
            seen = (hits.triangle >= 0) & (hits.depth > 0.3) & (cosine > 0.05)
            seen &= rng.random(seen.shape) >= caster.dropout[caster.material[hits.triangle]]
            distance = hits.depth[seen] + rng.normal(0, range_noise, seen.sum())
            xyz = eye + direction[seen] * distance[:, None]
            found.append((xyz, hits.normal[seen], hits.rgb[seen], caster.instance[hits.triangle[seen]]))
    xyz, normal, rgb, instance = (np.concatenate(values) for values in zip(*found))
    if not len(xyz):
        raise ValueError("the laser saw nothing")
    cells = np.floor(xyz / rng.uniform(0.01, 0.02)).astype(np.int64)
    keep = np.sort(np.unique(cells, axis=0, return_index=True)[1])
    rgb = rgb[keep] * rng.uniform((0.95, 0.9, 0.8), (1.05, 1.0, 1.0)) + rng.normal(0, 4, (len(keep), 3))
    return xyz[keep], normal[keep], rgb, instance[keep], None


# Light and color.


def _light(
    caster: RayCaster, xyz: np.ndarray, normal: np.ndarray, lights: list[np.ndarray], rng: np.random.Generator
) -> Float[np.ndarray, "P"]:
    """Brightness of points under the lights, with shadows, and less in corners."""
    start = xyz + normal * 0.05
    total = np.zeros(len(xyz))
    for light in lights:
        ray = light + rng.normal(0, 0.25, xyz.shape) - start
        distance = np.linalg.norm(ray, axis=1)
        facing = np.maximum((normal * ray).sum(axis=1) / distance, 0) * 0.8 + 0.2
        total += np.where(caster.is_blocked(start, ray, 0.97), 0.15, facing) / (0.8 + 0.2 * distance**2)
    openness = np.zeros(len(xyz))
    for _ in range(3):
        openness += ~caster.is_blocked(start, normal + rng.normal(0, 0.6, xyz.shape), 0.5)
    return 0.3 + 0.1 * openness + total * rng.uniform(0.5, 0.9) / max(len(lights) * 0.5, 1)


def _smooth_over_mesh(values: np.ndarray, faces: np.ndarray, steps: int) -> np.ndarray:
    """Means over neighbors: few rays a point give salt and pepper."""
    num = len(values)
    pairs = (faces.ravel(), faces[:, [1, 2, 0]].ravel())
    links = csr_array(coo_array((np.ones(faces.size), pairs), (num, num)))
    links = links + links.T + eye_array(num, format="csr")
    links = diags_array(1 / links.sum(axis=1)) @ links
    for _ in range(steps):
        values = links @ values
    return values


def _develop(albedo: np.ndarray, shade: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colors as a camera stores them: paler than paint, lit, with its own exposure and contrast."""
    gray = albedo.mean(axis=1, keepdims=True)
    rgb = (gray + (albedo - gray) * rng.uniform(0.45, 0.95)) * shade[:, None]
    # Real scans have deep shadows and blown-out lights: their 5th and 95th percentiles are about 20 and 230.
    middle = np.percentile(rgb, rng.uniform(40, 70))
    rgb = (rgb.clip(0) / middle) ** rng.uniform(1.0, 1.8) * rng.uniform(70, 150)
    return np.clip(rgb, 0, 255).astype(np.uint8)
