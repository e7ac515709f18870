// The shown layer and filters, the image, and the point that a pixel shows.

const labeled = M.layers.filter((l) => l.rows);
let current = M.layers[0],
  listed =
    labeled.find((l) => l.key === "prediction") || labeled.find((l) => l.key === "truth") || labeled[0] || null;
let chosen = -1,
  cut = M.cut,
  size = 1,
  minimum = M.threshold;
const filter = { text: "", name: "" };
const passes = (layer, r) =>
  !below(r) &&
  (!filter.name || r.n === filter.name) &&
  (!filter.text || (r.n + " " + r.i).toLowerCase().includes(filter.text));
const below = (r) => r.s !== undefined && r.s < minimum;
const rowAt = (layer, k) => (below(layer.rows[layer.ids[k]]) ? 0 : layer.ids[k]); // below the slider is no object
const upload = () => {
  const rows = listed ? listed.rows : [],
    height = Math.max(1, Math.ceil(rows.length / 256)),
    data = new Uint8Array(1024 * height).fill(255); // what has no row is shown
  rows.forEach((r, k) => {
    const row = below(r) ? 0 : k;
    data.set(rows[row].color, 4 * k);
    data[4 * k + 3] = listed.hidden.has(row) ? 0 : row !== k ? 210 : k === 0 || passes(listed, r) ? 255 : 128;
  });
  gl.bindTexture(gl.TEXTURE_2D, palette);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, height, 0, gl.RGBA, gl.UNSIGNED_BYTE, data);
  if (idLayer !== listed || !idBuffer) {
    if (idBuffer) gl.deleteBuffer(idBuffer);
    idBuffer = attribute(2, listed ? listed.ids : new Uint8Array(n), 1, true);
    idLayer = listed;
  }
  dirty = true;
};
const rgbOf = (name) => {
  const v = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(v.slice(i, i + 2), 16) / 255);
};
const draw = () => {
  $("tags").replaceChildren();
  resize();
  const { m, near, farPlane, f, eye, turn: rotation } = matrices(),
    isDark = document.documentElement.dataset.theme === "dark";
  const strips = openFront(eye); // before the palette, because it binds its own texture
  gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
  gl.viewport(0, 0, target.w, target.h);
  gl.enable(gl.DEPTH_TEST);
  gl.clearBufferfv(gl.COLOR, 0, [0, 0, 0, 0]);
  gl.clearBufferfv(gl.COLOR, 1, [0, 0, 0, 0]);
  gl.clearBufferfv(gl.DEPTH, 0, [1]);
  gl.useProgram(points.program);
  const u = points.uniforms;
  gl.activeTexture(gl.TEXTURE0);
  gl.bindTexture(gl.TEXTURE_2D, palette);
  gl.uniform1i(u.palette, 0);
  gl.uniformMatrix4fv(u.matrix, false, m);
  gl.uniform1f(u.step_, M.step);
  gl.uniform1f(u.size, 2.4 * size);
  gl.uniform1f(u.pixels, (target.h * f) / 2);
  gl.uniform1f(u.cut, cut);
  gl.uniform1f(u.biggest, biggest);
  gl.uniformMatrix3fv(u.turn, false, rotation);
  gl.uniform3fv(u.eye, eye);
  gl.uniform2f(u.range, near, farPlane);
  gl.uniform4fv(u.strips, strips);
  gl.activeTexture(gl.TEXTURE1);
  gl.bindTexture(gl.TEXTURE_2D, front);
  gl.uniform1i(u.front, 1);
  gl.activeTexture(gl.TEXTURE0);
  gl.uniform1i(u.flat_, current.rows ? 1 : 0);
  gl.uniform1i(u.chosen, chosen);
  gl.uniform3fv(u.dim, isDark ? [0.24, 0.26, 0.3] : [0.87, 0.88, 0.9]);
  gl.drawArrays(gl.POINTS, 0, n);
  gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  gl.disable(gl.DEPTH_TEST);
  gl.useProgram(shade.program);
  const v = shade.uniforms;
  gl.bindTexture(gl.TEXTURE_2D, target.shown);
  gl.uniform1i(v.shown, 0);
  gl.activeTexture(gl.TEXTURE1);
  gl.bindTexture(gl.TEXTURE_2D, target.depth);
  gl.uniform1i(v.depth, 1);
  gl.activeTexture(gl.TEXTURE0);
  gl.uniform2f(v.range, near, farPlane);
  gl.uniform3fv(v.paper, rgbOf("--paper"));
  gl.uniform3fv(v.rim, isDark ? [1, 1, 1] : [0.08, 0.1, 0.14]);
  gl.uniform1f(v.ratio, target.ratio);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
  const meter = ((target.h / target.ratio) * f) / 2 / cam.distance,
    want = 110 / meter,
    power = 10 ** Math.floor(Math.log10(want)),
    length = [5, 2, 1].find((k) => k * power <= want) * power;
  $("scale").firstElementChild.textContent =
    length >= 1
      ? length + " m"
      : length >= 0.01
        ? Math.round(length * 100) + " cm"
        : +(length * 1000).toPrecision(1) + " mm";
  $("scale").lastElementChild.style.width = length * meter + "px";
};
const numbersIn = (x, y, w, h) => {
  // 1 + the point that each pixel shows, 0 for none
  const numbers = new Uint32Array(w * h);
  gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
  gl.readBuffer(gl.COLOR_ATTACHMENT1);
  gl.readPixels(x, y, w, h, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(numbers.buffer));
  gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  return numbers;
};
const pickAt = (x, y) => {
  // the point under the pointer, -1 for none
  if (!target) return -1;
  const reach = Math.round(4 * target.ratio),
    side = 2 * reach + 1,
    px = Math.round(x * target.ratio),
    py = target.h - 1 - Math.round(y * target.ratio),
    numbers = numbersIn(px - reach, py - reach, side, side);
  let best = -1,
    least = Infinity;
  for (let j = 0; j < side; j++)
    for (let i = 0; i < side; i++) {
      const k = numbers[j * side + i],
        d = (i - reach) ** 2 + (j - reach) ** 2;
      if (k && d < least) {
        least = d;
        best = k - 1;
      }
    }
  return best;
};
const project = (p) => {
  // the pixel of a place, which is in meters from the lowest corner
  const { m } = matrices(),
    [x, y, , w] = [0, 1, 2, 3].map((r) => m[r] * p[0] + m[4 + r] * p[1] + m[8 + r] * p[2] + m[12 + r]);
  return [((1 + x / w) / 2) * stage.clientWidth, ((1 - y / w) / 2) * stage.clientHeight];
};
const boxes = new Map(); // boxes of the objects of each layer, computed when first needed
const boxOf = (layer, row) => {
  if (!boxes.has(layer)) {
    const b = new Uint16Array(6 * layer.rows.length);
    for (let k = 0; k < layer.rows.length; k++) b.fill(65535, 6 * k, 6 * k + 3);
    for (let i = 0; i < n; i++)
      for (let a = 0, o = 6 * layer.ids[i]; a < 3; a++) {
        const p = position[3 * i + a];
        if (p < b[o + a]) b[o + a] = p;
        if (p > b[o + 3 + a]) b[o + 3 + a] = p;
      }
    boxes.set(layer, b);
  }
  const b = boxes.get(layer).subarray(6 * row, 6 * row + 6);
  return { low: [0, 1, 2].map((a) => b[a] * M.step), high: [3, 4, 5].map((a) => b[a] * M.step) };
};
