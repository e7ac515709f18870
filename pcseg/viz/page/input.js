// Mouse, touch, keys; then the page starts.

const tip = $("tip");
const place = (k) => [0, 1, 2].map((a) => position[3 * k + a] * M.step);
const hover = (x, y) => {
  const k = pickAt(x, y);
  if (k < 0) {
    tip.style.display = "none";
    return;
  }
  const lines = [],
    say = (text) => lines.push(make("div", text, "faint"));
  if (listed) {
    const r = countedRow(listed, rowAt(listed, k)),
      head = make("strong"),
      swatch = make("i");
    swatch.style.background = css(r.color);
    head.append(swatch, named(listed, r));
    lines.push(head);
    say((r.s === undefined ? "" : `score ${r.s.toFixed(2)} · `) + `${count(r.p)} points`);
    if (r.u !== undefined) say(`IoU ${r.u.toFixed(2)} with the ${listed.key === "truth" ? "prediction" : "truth"}`);
    if (r.h) say(r.h);
    for (const other of labeled)
      if (other !== listed) say(`${other.title}: ${named(other, other.rows[rowAt(other, k)])}`);
  }
  const meters = place(k).map((v, a) => (v + M.origin[a]).toFixed(2));
  if (!M.image) say(`x y z  ${meters.join("  ")} m`);
  tip.replaceChildren(...lines);
  tip.style.display = "block";
  tip.style.left = Math.max(4, Math.min(x + 16, stage.clientWidth - tip.offsetWidth - 6)) + "px";
  tip.style.top =
    Math.max(4, y + 18 + tip.offsetHeight > stage.clientHeight ? y - tip.offsetHeight - 12 : y + 18) + "px";
};
const move = (dx, dy) => {
  const { right, up } = axes(cam),
    s = (2 * cam.distance * Math.tan(fov / 2)) / stage.clientHeight;
  cam.target = cam.target.map((v, a) => v + (-dx * right[a] + dy * up[a]) * s);
  dirty = true;
};
const turn = (dx, dy) => {
  cam.yaw -= dx * 0.006;
  cam.pitch = Math.max(-1.5707, Math.min(1.5707, cam.pitch + dy * 0.006));
  dirty = true;
};
const zoom = (factor, x, y) => {
  factor = Math.max(radius * 0.02, Math.min(radius * 12, cam.distance * factor)) / cam.distance;
  // The place under the pointer stays there.
  if (x !== undefined) move((stage.clientWidth / 2 - x) * (1 - factor), (stage.clientHeight / 2 - y) * (1 - factor));
  cam.distance *= factor;
  dirty = true;
};
const held = new Map();
let moved = 0,
  pan = false,
  timer = 0;
const local = (e) => {
  const r = stage.getBoundingClientRect();
  return [e.clientX - r.left, e.clientY - r.top];
};
canvas.addEventListener("contextmenu", (e) => e.preventDefault());
canvas.addEventListener("pointerdown", (e) => {
  if (e.isTrusted) canvas.setPointerCapture(e.pointerId);
  held.set(e.pointerId, local(e));
  if (held.size === 1) {
    moved = 0;
    pan = e.button !== 0 || e.shiftKey;
  } else moved = 99;
  flight = null;
  tip.style.display = "none";
});
canvas.addEventListener("pointermove", (e) => {
  const [x, y] = local(e),
    old = held.get(e.pointerId);
  if (!old) {
    clearTimeout(timer);
    if (e.pointerType === "mouse") timer = setTimeout(() => hover(x, y), 50);
    return;
  }
  const dx = x - old[0],
    dy = y - old[1];
  moved += Math.abs(dx) + Math.abs(dy);
  if (held.size === 1) {
    if (moved > 4) (pan ? move : turn)(dx, dy);
  } else {
    const other = [...held].find(([id]) => id !== e.pointerId)[1];
    zoom(
      Math.hypot(old[0] - other[0], old[1] - other[1]) / Math.max(1, Math.hypot(x - other[0], y - other[1])),
      (x + other[0]) / 2,
      (y + other[1]) / 2,
    );
    move(dx / 2, dy / 2);
  }
  held.set(e.pointerId, [x, y]);
});
const release = (e) => {
  const [x, y] = local(e);
  if (held.delete(e.pointerId) && e.type === "pointerup" && moved <= 4 && !pan) {
    hover(x, y);
    const k = pickAt(x, y);
    if (k >= 0 && listed) choose(rowAt(listed, k), false);
    else if (chosen >= 0) choose(chosen);
  }
};
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerleave", (e) => {
  if (e.pointerType !== "mouse") return; // a lifted finger also leaves, but its text stays
  clearTimeout(timer);
  if (!held.size) tip.style.display = "none";
});
canvas.addEventListener(
  "wheel",
  (e) => {
    e.preventDefault();
    flight = null;
    zoom(Math.exp(Math.max(-60, Math.min(60, e.deltaY * (e.deltaMode ? 30 : 1))) * 0.0022), ...local(e));
    tip.style.display = "none";
  },
  { passive: false },
);
canvas.addEventListener("dblclick", (e) => {
  const k = pickAt(...local(e));
  if (k >= 0) fly({ ...cam, distance: cam.distance * 0.5, target: place(k) });
});
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || $("keys").open) return;
  const typing = e.target.matches?.("input[type=search], select"),
    sliding = e.target.matches?.("input[type=range]");
  if (e.key === "Escape") {
    if (typing) e.target.blur();
    else if (chosen >= 0) choose(chosen);
    return;
  }
  if (typing) return;
  const digit = M.layers.filter((l) => l.digit === e.key);
  if (digit.length) return show(digit[(digit.indexOf(current) + 1) % digit.length]);
  const arrow = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
  if (arrow && !sliding && !e.target.closest?.("#list")) {
    e.preventDefault();
    flight = null;
    return e.shiftKey ? move(30 * arrow[0], 30 * arrow[1]) : turn(-20 * arrow[0], 20 * arrow[1]);
  }
  const action = {
    "[": () => setCut(cut - M.top * 0.03),
    "]": () => setCut(cut + M.top * 0.03),
    "-": () => setSize(size / 1.15),
    "+": () => setSize(size * 1.15),
    "=": () => setSize(size * 1.15),
    w: () => zoom(0.87),
    s: () => zoom(1.15),
    o: () => $("open").click(),
    b: () => $("safe").click(),
    n: () => $("names").click(),
    f: $("frame").onclick,
    t: $("top").onclick,
    "?": $("help").onclick,
    "/": () => {
      e.preventDefault();
      pull("list");
      $("search").focus();
    },
    h: () => {
      if (chosen >= 0) {
        listed.hidden.add(chosen);
        choose(chosen);
        refill();
      }
    },
  }[e.key.length === 1 ? e.key.toLowerCase() : ""];
  if (action) action();
});
let touched = false; // until then, a new window size frames the room again
const touch = () => (touched = true);
for (const type of ["pointerdown", "wheel", "keydown"]) addEventListener(type, touch, { capture: true, passive: true });
let started = false;
new ResizeObserver(() => {
  if (!touched) cam = whole();
  if (started) resize();
  if (started && dirty) redraw(true); // immediately, because a resized canvas is blank
}).observe(stage);
canvas.addEventListener("webglcontextlost", (e) => {
  e.preventDefault();
  fail("The WebGL context was lost; reload the page.");
});

setCut(cut);
setSize(1);
setScore(minimum);
show(M.layers.find((l) => l.key === M.start) || M.layers[0]);
cam = whole();
note.hidden = true;
let unnamed = true; // names wait until the camera rests
const redraw = (rests = false) => {
  draw();
  dirty = false;
  unnamed = !rests;
  if (rests) nameObjects();
};
let slow = 0,
  last = 0;
const loop = (now) => {
  const moving = flight !== null || held.size > 0;
  if (flight) {
    flight(now);
    dirty = true;
  }
  // A slow machine draws a quarter of the pixels while something moves.
  slow = moving && dirty && now - last > 80 ? slow + 1 : 0;
  last = now;
  if (coarse ? !moving : slow > 2) {
    coarse = moving;
    dirty = true;
  }
  if (dirty) redraw();
  else if (unnamed && !moving) {
    unnamed = false;
    nameObjects();
  }
  requestAnimationFrame(loop);
};
started = true;
redraw(true);
requestAnimationFrame(loop);
window.pcseg = {
  meta: M,
  pick: pickAt,
  project,
  state: () => ({ layer: current.key, chosen, minimum, cam, flying: flight !== null || dirty || unnamed }),
  turn,
  position,
};
document.documentElement.dataset.ready = "1";
