// The camera, its flights, and the hidden walls between it and the room.

const E = M.extent,
  middle = [E[0] / 2, E[1] / 2, Math.min(M.cut, E[2]) / 2],
  radius = Math.hypot(...E) / 2 || 1;
const home = { yaw: (M.azimuth * Math.PI) / 180, pitch: M.pitch, distance: 0, target: middle };
let cam = { ...home, target: [...middle] },
  flight = null;
const fov = 0.56,
  still = matchMedia("(prefers-reduced-motion: reduce)");
const axes = (c) => {
  const cp = Math.cos(c.pitch),
    back = [cp * Math.cos(c.yaw), cp * Math.sin(c.yaw), Math.sin(c.pitch)],
    right = [-Math.sin(c.yaw), Math.cos(c.yaw), 0];
  return {
    back,
    right,
    up: [
      back[1] * right[2] - back[2] * right[1],
      back[2] * right[0] - back[0] * right[2],
      back[0] * right[1] - back[1] * right[0],
    ],
  };
};
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const fit = (low, high, c) => {
  // the nearest camera that sees all corners of a box
  const { back, right, up } = axes(c),
    tall = Math.tan(fov / 2) * 0.94,
    wide = (tall * stage.clientWidth) / Math.max(1, stage.clientHeight);
  const center = low.map((v, a) => (v + high[a]) / 2),
    corners = [...Array(8).keys()].map((k) => low.map((v, a) => ((k >> a) & 1 ? high[a] : v) - center[a]));
  const ends = (axis, tangent) =>
    [1, -1].map((side) => Math.max(...corners.map((p) => side * dot(p, axis) + dot(p, back) * tangent)));
  const [x0, x1] = ends(right, wide),
    [y0, y1] = ends(up, tall),
    dx = (x0 - x1) / 2,
    dy = (y0 - y1) / 2;
  return {
    ...c,
    distance: Math.max((x0 + x1) / (2 * wide), (y0 + y1) / (2 * tall), radius * 0.05),
    target: center.map((v, a) => v + dx * right[a] + dy * up[a]),
  };
};
const whole = (change = {}) => {
  const see = (c) => fit([0, 0, 0], [E[0], E[1], Math.min(E[2], M.cut)], { ...home, ...c });
  if (stage.clientWidth >= stage.clientHeight || change.yaw !== undefined || M.image) return see(change);
  // A tall screen: a steeper view, turned until the room is narrow.
  const turns = [...Array(19).keys()].map((k) => home.yaw + ((k - 9) * Math.PI) / 18);
  const views = turns.map((yaw) => see({ pitch: 1.05, ...change, yaw }));
  return views.reduce((best, c) => (c.distance < best.distance ? c : best));
};
const fly = (to) => {
  if (still.matches) {
    cam = to;
    dirty = true;
    return;
  }
  const from = { ...cam, target: [...cam.target] },
    start = performance.now();
  to = { ...to, yaw: from.yaw + Math.atan2(Math.sin(to.yaw - from.yaw), Math.cos(to.yaw - from.yaw)) };
  flight = (now) => {
    const t = Math.min(1, (now - start) / 450),
      s = t * t * (3 - 2 * t),
      mix = (a, b) => a + (b - a) * s;
    cam = {
      yaw: mix(from.yaw, to.yaw),
      pitch: mix(from.pitch, to.pitch),
      distance: Math.exp(mix(Math.log(from.distance), Math.log(to.distance))),
      target: from.target.map((v, a) => mix(v, to.target[a])),
    };
    if (t >= 1) flight = null;
  };
};
const matrices = () => {
  const { back, right, up } = axes(cam),
    eye = cam.target.map((v, a) => v + cam.distance * back[a]);
  const near = Math.max(cam.distance * 0.02, radius * 0.002),
    farPlane = cam.distance + radius * 4,
    f = 1 / Math.tan(fov / 2),
    a = target.w / target.h;
  const rows = [right, up, back].map((r) => [...r, -dot(r, eye)]),
    A = (farPlane + near) / (near - farPlane),
    B = (2 * farPlane * near) / (near - farPlane);
  const m = new Float32Array(16);
  for (let c = 0; c < 4; c++) {
    m[4 * c] = (f / a) * rows[0][c];
    m[4 * c + 1] = f * rows[1][c];
    m[4 * c + 2] = A * rows[2][c] + (c === 3 ? B : 0);
    m[4 * c + 3] = -rows[2][c];
  }
  return { m, near, farPlane, f, eye, turn: [0, 1, 2].flatMap((c) => [right[c], up[c], back[c]]) };
};

// Open front: hides the walls between the camera and the room, strip by strip, for each direction.
const cell = Math.max(0.1, Math.max(E[0], E[1]) / 600),
  columns = Math.floor(E[0] / cell) + 2,
  plan = new Uint8Array(columns * (Math.floor(E[1] / cell) + 2)),
  cells = [];
for (let i = 0; i < n; i++) {
  const z = position[3 * i + 2] * M.step;
  if (z <= M.cut)
    plan[Math.floor((position[3 * i] * M.step) / cell) + columns * Math.floor((position[3 * i + 1] * M.step) / cell)] |=
      z > 0.8 * M.cut ? 3 : 1;
}
plan.forEach((v, k) => {
  if (v) cells.push([((k % columns) + 0.5) * cell, (Math.floor(k / columns) + 0.5) * cell, v]);
});
const numStrips = Math.ceil(Math.hypot(E[0], E[1]) * 5) + 4,
  limits = new Float32Array(numStrips);
const front = texture(gl.R32F, numStrips, 1, gl.RED, gl.FLOAT);
let frontKey = null,
  opened = true;
const openFront = (eye) => {
  const a = Math.cos(cam.yaw),
    b = Math.sin(cam.yaw),
    first = Math.min(0, E[1] * a) + Math.min(0, -E[0] * b) - 0.2,
    key = opened && cam.pitch > 0 ? a + "," + b : "shut";
  if (key !== frontKey) {
    frontKey = key;
    limits.fill(1e9);
    if (key !== "shut") {
      const nearest = new Float32Array(numStrips).fill(-1e9),
        total = new Uint32Array(numStrips),
        before = new Uint32Array(numStrips);
      const strip = (c) => Math.min(numStrips - 1, Math.max(0, Math.floor((c[1] * a - c[0] * b - first) * 5))),
        along = (c) => c[0] * a + c[1] * b;
      for (const c of cells) {
        const k = strip(c);
        total[k]++;
        if (c[2] === 3) nearest[k] = Math.max(nearest[k], along(c));
      }
      for (const c of cells) {
        const k = strip(c);
        if (along(c) >= nearest[k] - cell / 2) before[k]++;
      }
      // If the near wall was not scanned, the first tall cell is the far wall, which must stay.
      for (let k = 0; k < numStrips; k++)
        if (nearest[k] > -1e8 && before[k] <= 0.4 * total[k]) limits[k] = nearest[k] - 0.23;
    }
    gl.bindTexture(gl.TEXTURE_2D, front);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, numStrips, 1, gl.RED, gl.FLOAT, limits);
  }
  return [a, b, first, eye[0] * a + eye[1] * b];
};
