// All points of a map, written as pixels: 100,000 of them take a few milliseconds and need no GPU.

/** @typedef {{dx: number, dy: number, cover: number}[]} Stamp */

/** The pixels of a disc and how much of each it covers. @param {number} radius in pixels @returns {Stamp} */
function stampOf(radius) {
  const stamp = [];
  const reach = Math.ceil(radius + 0.5);
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const cover = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(dx, dy)));
      if (cover > 0.05) stamp.push({ dx, dy, cover });
    }
  }
  return stamp;
}

/** A radius that lets single points be seen and many be a cloud. @param {number} n @param {number} zoom over the whole map's */
export function radiusOf(n, zoom) {
  const base = n > 50000 ? 0.8 : n > 8000 ? 1.2 : n > 2500 ? 1.8 : n > 600 ? 2.6 : 3.6;
  return Math.min(6, base * Math.max(1, zoom) ** 0.35);
}

/**
 * @typedef {{x: ArrayLike<number>, y: ArrayLike<number>, n: number, colours: Uint32Array, shown: Uint8Array}} Points shown: 0 hidden, 1 faint, 2 shown
 * @typedef {{ax: number, bx: number, ay: number, by: number}} To pixel = a * value + b
 */

/** Draws all points; discs where they are few or large, else squares. @param {Uint32Array} pixels @param {number} width @param {number} height
 * @param {Points} points @param {To} to @param {number} radius in pixels */
export function drawPoints(pixels, width, height, points, to, radius) {
  const faint = points.shown.includes(1);
  if (points.n > 5000 && radius < 2.3) {
    const side = Math.max(1, Math.round(1.8 * radius));
    if (faint) squares(pixels, width, height, points, to, side, 1);
    squares(pixels, width, height, points, to, side, 2);
  } else {
    const stamp = stampOf(radius);
    if (faint) discs(pixels, width, height, points, to, stamp, 1);
    discs(pixels, width, height, points, to, stamp, 2);
  }
}

/** @param {number} level */
const alphaOf = (level) => (level === 1 ? 60 : 255);

/** @param {Uint32Array} pixels @param {number} width @param {number} height @param {Points} points @param {To} to @param {number} side @param {number} level */
function squares(pixels, width, height, { x, y, n, colours, shown }, { ax, bx, ay, by }, side, level) {
  const alpha = alphaOf(level) << 24;
  const [left, top] = [bx - side / 2 + 0.5, by - side / 2 + 0.5];
  const [right, low] = [width - side, height - side];
  for (let i = 0; i < n; i++) {
    if (shown[i] !== level) continue;
    const px = (ax * x[i] + left) | 0;
    const py = (ay * y[i] + top) | 0;
    if (px < 1 || py < 1 || px >= right || py >= low) continue;
    const colour = (colours[i] & 0xffffff) | alpha;
    for (let at = py * width + px, end = at + side * width; at < end; at += width)
      for (let k = 0; k < side; k++) pixels[at + k] = colour;
  }
}

/** @param {Uint32Array} pixels @param {number} width @param {number} height @param {Points} points @param {To} to @param {Stamp} stamp @param {number} level */
function discs(pixels, width, height, { x, y, n, colours, shown }, { ax, bx, ay, by }, stamp, level) {
  const reach = Math.max(...stamp.map((s) => s.dx));
  const solid = stamp.filter((s) => s.cover > 0.95).map((s) => s.dy * width + s.dx);
  const rim = stamp.filter((s) => s.cover <= 0.95);
  const rimAt = rim.map((s) => s.dy * width + s.dx);
  const rimCover = rim.map((s) => s.cover);
  const most = alphaOf(level);
  for (let i = 0; i < n; i++) {
    if (shown[i] !== level) continue;
    const px = Math.round(ax * x[i] + bx);
    const py = Math.round(ay * y[i] + by);
    if (!(px >= reach && py >= reach && px < width - reach && py < height - reach)) continue;
    const at = py * width + px;
    const colour = colours[i] & 0xffffff;
    const full = ((most << 24) | colour) >>> 0;
    for (let k = 0; k < solid.length; k++) pixels[at + solid[k]] = full;
    for (let k = 0; k < rimAt.length; k++) {
      const p = at + rimAt[k];
      const under = pixels[p];
      const cover = rimCover[k];
      const alpha = under >>> 24;
      if (alpha === 0) {
        pixels[p] = (((most * cover) << 24) | colour) >>> 0;
        continue;
      }
      const keep = 1 - cover;
      const red = (colour & 255) * cover + (under & 255) * keep;
      const green = ((colour >> 8) & 255) * cover + ((under >> 8) & 255) * keep;
      const blue = ((colour >> 16) & 255) * cover + ((under >> 16) & 255) * keep;
      pixels[p] = ((Math.max(alpha, most * cover) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    }
  }
}
