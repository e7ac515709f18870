// Names of the objects in the image, once the camera rests.

const nameObjects = () => {
  const tags = [];
  if (listed && current === listed && isObjects(listed) && $("names").checked && target) {
    const { w, h, ratio } = target,
      data = new Uint8Array(4 * w * h),
      step = Math.max(1, Math.round(3 * ratio)),
      seen = new Map(); // pixels of each object
    gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
    gl.readBuffer(gl.COLOR_ATTACHMENT1);
    gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, data);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    for (let y = 0; y < h; y += step)
      for (let x = 0; x < w; x += step) {
        const o = 4 * (y * w + x),
          k = data[o] + data[o + 1] * 256 + data[o + 2] * 65536 + data[o + 3] * 16777216,
          row = k ? rowAt(listed, k - 1) : 0;
        if (!row || !passes(listed, listed.rows[row])) continue;
        if (!seen.has(row)) seen.set(row, []);
        seen.get(row).push([x / ratio, (h - 1 - y) / ratio]);
      }
    const median = (values) => values.sort((a, b) => a - b)[values.length >> 1],
      taken = [];
    for (const [row, pixels] of [...seen].sort((a, b) => b[1].length - a[1].length)) {
      const [mx, my] = [0, 1].map((a) => median(pixels.map((p) => p[a]))),
        off = (p) => (p[0] - mx) ** 2 + (p[1] - my) ** 2,
        [x, y] = pixels.reduce((best, p) => (off(p) < off(best) ? p : best)); // a pixel of the object itself
      const name = named(listed, listed.rows[row]),
        half = 3.6 * name.length + 6,
        spot = [0, -17, 17, -34, 34].find((dy) => taken.every((t) => Math.abs(t[0] - x) > t[2] + half || Math.abs(t[1] - y - dy) > 16));
      if (spot === undefined) continue; // too crowded; the list and the pointer have every name
      taken.push([x, y + spot, half]);
      const tag = make("span", name, row === chosen ? "sel" : "");
      tag.style.left = `${Math.max(half, Math.min(stage.clientWidth - half, x))}px`;
      tag.style.top = `${y + spot}px`;
      tags.push(tag);
    }
  }
  $("tags").replaceChildren(...tags);
};
