// The list of objects, the buttons and the sliders.

const make = (tag, text, name) => {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (name) e.className = name;
  return e;
};
const css = (c) => `rgb(${c.join(",")})`;
const count = (k) => k.toLocaleString("en");
const named = (layer, r) =>
  isObjects(layer) && r.row ? `${r.n} ${r.i}` : layer.key === "superpoint" ? `superpoint ${r.i}` : r.n;
const LIMIT = 400;
const fill = () => {
  const list = $("list");
  $("filters").hidden = !listed;
  if (!listed) {
    list.replaceChildren(make("p", "This scan has no labels."));
    return;
  }
  const rows = listed.rows.filter((r) => r.row > 0 && r.p > 0 && passes(listed, r)),
    order = $("sort").value;
  if (order === "size") rows.sort((a, b) => b.p - a.p);
  else if (order === "score") rows.sort((a, b) => (b.s ?? 0) - (a.s ?? 0) || b.p - a.p);
  else rows.sort((a, b) => a.n.localeCompare(b.n) || a.i - b.i);
  const items = rows.slice(0, LIMIT).map((r) => item(r));
  const none = countedRow(listed, 0);
  if (none.p > 0) items.push(item(none));
  if (rows.length > LIMIT) items.push(make("p", `${count(rows.length - LIMIT)} more; search or filter to see them.`));
  if (!rows.length) items.unshift(make("p", "Nothing passes the filters."));
  list.replaceChildren(...items);
  $("all").textContent = rows.some((r) => !listed.hidden.has(r.row)) ? "Hide all" : "Show all";
  counts();
};
const countedRow = (layer, row) => {
  // Points of objects below the slider have no object either.
  const weak = row === 0 ? layer.rows.filter((r) => r.row > 0 && below(r)) : [];
  return { ...layer.rows[row], p: weak.reduce((sum, r) => sum + r.p, layer.rows[row].p) };
};
const counts = () => {
  const rows = listed.rows.filter((r) => r.row > 0 && r.p > 0),
    shown = rows.filter((r) => passes(listed, r) && !listed.hidden.has(r.row)).length;
  $("count").textContent =
    `${listed.title}: ${count(shown)} shown of ${count(rows.length)}${listed.note ? " · " + listed.note : ""}`;
  $("grip").textContent = `List ${count(shown)}`;
};
const item = (r) => {
  const li = make("li", undefined, r.row === chosen ? "sel" : ""),
    box = make("input"),
    button = make("button"),
    swatch = make("i");
  box.type = "checkbox";
  box.checked = !listed.hidden.has(r.row);
  box.setAttribute("aria-label", `show ${named(listed, r)}`);
  box.onchange = () => {
    listed.hidden[box.checked ? "delete" : "add"](r.row);
    upload();
    counts();
  };
  swatch.style.background = css(r.color);
  const right =
    r.s !== undefined
      ? `${r.s.toFixed(2)} · ${count(r.p)} points`
      : `${((100 * r.p) / n).toFixed(r.p / n < 0.0995 ? 1 : 0)} % · ${count(r.p)}`;
  button.append(swatch, make("b", named(listed, r)), make("span", right));
  if (r.h) button.title = r.h;
  button.onclick = () => choose(r.row, true);
  li.dataset.row = r.row;
  li.append(box, button);
  return li;
};
const choose = (row, go) => {
  chosen = row === chosen ? -1 : row;
  for (const li of $("list").children) li.classList.toggle("sel", +li.dataset.row === chosen && chosen >= 0);
  if (chosen >= 0) {
    if (go && chosen === 0) fly(whole({ yaw: cam.yaw }));
    else if (go) {
      const { low, high } = boxOf(listed, chosen),
        grow = 0.35 * Math.hypot(...high.map((v, a) => v - low[a])) + 0.15,
        [least, most] = [low.map((v) => v - grow), high.map((v) => v + grow)];
      fly(fit(least, most, cam));
    } else $("list").querySelector(".sel")?.scrollIntoView({ block: "nearest" });
  }
  dirty = true;
};
const refill = () => {
  upload();
  fill();
};
const show = (layer) => {
  const before = listed,
    was = chosen;
  current = layer;
  if (layer.rows) listed = layer;
  if (listed !== before) {
    chosen = -1;
    if (was > 0 && before && isObjects(before) && isObjects(listed)) chosen = before.rows[was].m || -1; // the same object in the other layer
    filter.name = "";
  }
  for (const b of $("layers").children) {
    b.setAttribute("aria-pressed", String(b.dataset.key === layer.key));
    if (b.dataset.key === layer.key) $("layers").scrollLeft = b.offsetLeft - $("layers").offsetLeft - 60;
  }
  if (listed) {
    const objects = isObjects(listed) ? listed.rows.slice(1).filter((r) => r.p) : [],
      names = [...new Set(objects.map((r) => r.n))].sort();
    $("class").replaceChildren(new Option("all classes", ""), ...names.map((k) => new Option(k, k)));
    $("class").value = filter.name;
    $("class").parentElement.hidden = !isObjects(listed);
    $("scorebox").hidden = listed.key !== "prediction";
  }
  refill();
};
M.layers.forEach((layer) => {
  const b = make("button");
  b.dataset.key = layer.key;
  b.append(make("kbd", layer.digit), make("span", layer.title));
  b.onclick = () => show(layer);
  $("layers").append(b);
});
$("search").oninput = (e) => {
  filter.text = e.target.value.trim().toLowerCase();
  refill();
};
$("class").onchange = (e) => {
  filter.name = e.target.value;
  refill();
};
$("sort").onchange = fill;
$("score").oninput = (e) => {
  setScore(+e.target.value);
  if (chosen > 0 && below(listed.rows[chosen])) chosen = -1;
  refill();
};
$("all").onclick = () => {
  const rows = listed.rows.filter((r) => r.row > 0 && passes(listed, r)),
    hide = rows.some((r) => !listed.hidden.has(r.row));
  rows.forEach((r) => listed.hidden[hide ? "add" : "delete"](r.row));
  refill();
};
const drawers = { grip: "list", more: "view" }; // on a phone: one of them is open, or none
const pull = (name) => {
  $("side").dataset.open = name;
  for (const button in drawers) $(button).setAttribute("aria-expanded", String(drawers[button] === name));
  dirty = true;
};
for (const button in drawers)
  $(button).onclick = () => pull($("side").dataset.open === drawers[button] ? "" : drawers[button]);
const slide = (name, value, text) => {
  $(name).value = value;
  $(name).nextElementSibling.textContent = text;
  dirty = true;
};
const setCut = (v) => {
  cut = Math.max(0, Math.min(M.top, v));
  slide("cut", cut, cut >= M.top ? "off" : (cut + M.origin[2]).toFixed(2) + " m");
};
const setSize = (v) => {
  size = Math.max(0.3, Math.min(3, v));
  slide("size", size, "× " + size.toFixed(2));
};
const setScore = (v) => {
  minimum = v;
  slide("score", minimum, minimum.toFixed(2));
};
$("cut").min = 0;
$("cut").max = M.top;
$("cut").oninput = (e) => setCut(+e.target.value);
$("size").oninput = (e) => setSize(+e.target.value);
$("safe").parentElement.hidden = !labeled.some((l) => l.safe);
$("safe").onchange = (e) => {
  setColors(e.target.checked);
  refill();
};
$("names").onchange = () => (dirty = true);
$("open").onchange = (e) => {
  opened = e.target.checked;
  dirty = true;
};
for (const part of [$("cut").parentElement, $("open").parentElement, $("scale"), $("top")]) part.hidden = M.image;
if (M.image) $("frame").textContent = "Whole image";
$("frame").onclick = () => fly(whole(M.image ? {} : { yaw: cam.yaw }));
$("top").onclick = () => fly(whole({ pitch: 1.5707, yaw: -Math.PI / 2 }));
$("help").onclick = () => $("keys").showModal();
$("save").onclick = () => {
  draw();
  canvas.toBlob((blob) => {
    const a = make("a");
    a.href = URL.createObjectURL(blob);
    a.download = M.name.replace(/[^\w.-]+/g, "_") + "_" + current.key + ".png";
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 1000);
  });
};
