// Names of the objects in the image, once the camera rests.

const nameObjects = () => {
  const tags = [];
  if (listed && current === listed && isObjects(listed) && $("names").checked && target) {
    const { w, h, ratio } = target,
      numbers = numbersIn(0, 0, w, h),
      step = Math.max(1, Math.round(3 * ratio)),
      wide = Math.ceil(w / step),
      owner = new Int32Array(wide * Math.ceil(h / step)), // object of each sample of the image
      seen = new Map(); // pixels of each object
    for (let y = 0; y < h; y += step)
      for (let x = 0; x < w; x += step) {
        const k = numbers[y * w + x],
          row = k ? rowAt(listed, k - 1) : 0;
        if (!row || !passes(listed, listed.rows[row])) continue;
        owner[(y / step) * wide + x / step] = row;
        if (!seen.has(row)) seen.set(row, []);
        seen.get(row).push([x / ratio, (h - 1 - y) / ratio]);
      }
    const median = (values) => values.sort((a, b) => a - b)[values.length >> 1],
      at = (x, y) => owner[Math.round((h - 1 - y * ratio) / step) * wide + Math.round((x * ratio) / step)],
      score = ([row]) => listed.rows[row].s ?? 0,
      taken = [];
    for (const [row, pixels] of [...seen].sort((a, b) => score(b) - score(a) || b[1].length - a[1].length)) {
      const name = named(listed, listed.rows[row]),
        half = 3.6 * name.length + 6,
        [mx, my] = [0, 1].map((a) => median(pixels.map((p) => p[a]))),
        // First places where the whole word is on the object, then those near its middle.
        far = ([x, y]) =>
          1e8 * [-1, -0.5, 0.5, 1].filter((side) => at(x + side * half, y) !== row).length + (x - mx) ** 2 + (y - my) ** 2;
      let [x, y, least] = [0, 0, Infinity];
      for (const p of pixels)
        if (far(p) < least && taken.every((t) => Math.abs(t[0] - p[0]) > t[2] + half || Math.abs(t[1] - p[1]) > 18))
          [x, y, least] = [...p, far(p)];
      if (least === Infinity) continue; // too crowded; the list and the pointer have every name
      taken.push([x, y, half]);
      const tag = make("span", name, row === chosen ? "sel" : "");
      tag.style.left = `${Math.max(half, Math.min(stage.clientWidth - half, x))}px`;
      tag.style.top = `${y}px`;
      tags.push(tag);
    }
  }
  $("tags").replaceChildren(...tags);
};
