// Unpacks the points: gzip, byte planes, differences between neighbors.
const $ = (id) => document.getElementById(id),
  note = $("note");
const fail = (text) => {
  note.hidden = false;
  note.textContent = text;
};
const M = JSON.parse($("meta").textContent),
  n = M.num_points;
$("head").querySelector("h1").textContent = M.name;
$("head").querySelector(".faint").textContent = M.subtitle;

// Theme
const dark = matchMedia("(prefers-color-scheme: dark)");
const setTheme = (name) => {
  document.documentElement.dataset.theme = name;
  dirty = true;
};
let dirty = true;
setTheme(dark.matches ? "dark" : "light");
dark.addEventListener("change", (e) => setTheme(e.matches ? "dark" : "light"));
$("theme").onclick = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");

if (typeof DecompressionStream === "undefined")
  throw Error("This browser is too old to unpack the points: it has no DecompressionStream.");
const text = atob($("data").textContent.trim()),
  packed = new Uint8Array(text.length);
for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
$("data").remove();
const raw = new Uint8Array(
  await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer(),
);
let offset = 0;
const plane = () => {
  offset += n;
  return raw.subarray(offset - n, offset);
};
const integers = (bytes) => {
  // from the lowest byte to the highest
  if (bytes === 1) return plane();
  const out = bytes === 2 ? new Uint16Array(n) : new Uint32Array(n);
  for (let b = 0; b < bytes; b++) {
    const p = plane();
    for (let i = 0; i < n; i++) out[i] |= p[i] << (8 * b);
  }
  return out;
};
const position = new Uint16Array(3 * n),
  color = new Uint8Array(3 * n);
const addUp = (out, bytes, change) => {
  for (let a = 0; a < 3; a++) {
    const d = integers(bytes);
    for (let i = 0, v = 0; i < n; i++) out[3 * i + a] = v += change(d[i]);
  }
};
addUp(position, 2, (k) => (k >> 1) ^ -(k & 1));
addUp(color, 1, (k) => k);
const spacing = plane(),
  facing = new Int8Array(2 * n);
for (let a = 0; a < 2; a++) {
  const p = plane();
  for (let i = 0; i < n; i++) facing[2 * i + a] = p[i];
}
for (const layer of M.layers) {
  layer.ids = integers(layer.bytes);
  layer.hidden = new Set();
  layer.rows.forEach((r, k) => (r.row = k));
}
M.layers.unshift({ key: "input", title: M.input_title, digit: "1" });
const setColors = (safe) => {
  for (const layer of M.layers) {
    const hex = (safe && layer.safe) || layer.colors;
    layer.rows?.forEach((r, k) => {
      r.color = [0, 2, 4].map((c) => parseInt(hex.slice(6 * k + c, 6 * k + c + 2), 16));
    });
  }
};
setColors(true);
const isObjects = (layer) => layer.key === "truth" || layer.key === "prediction";
