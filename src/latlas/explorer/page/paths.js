// Ways through latent space: straight, spherical, and the shortest where the map can be trusted.

/** @typedef {import("./run.js").Run} Run */

/** @param {Float32Array} a @param {Float32Array} b @param {number} t */
export const straight = (a, b, t) => a.map((v, k) => v + t * (b[k] - v));

/** Along the great circle, with the length changing evenly (Shoemake 1985). @param {Float32Array} a @param {Float32Array} b @param {number} t */
export function spherical(a, b, t) {
  const [p, q] = [Math.hypot(...a), Math.hypot(...b)];
  const cosine = a.reduce((s, v, k) => s + v * b[k], 0) / (p * q);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  if (!(angle > 1e-4) || angle > Math.PI - 1e-4) return straight(a, b, t); // no circle, or any
  const [u, v] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
  const length = p + t * (q - p);
  return a.map((value, k) => length * ((u * value) / p + (v * b[k]) / q));
}

/** The cheapest way between two places, where a step costs its length times 1 + 12 doubt: Dijkstra on a grid.
 * @param {import("./chart.js").Chart} chart @param {[number, number]} from @param {[number, number]} to @returns {[number, number][]} */
export function trusted(chart, from, to) {
  const [x0, y0, x1, y1] = reach(chart.box, from, to);
  const side = 72;
  const [dx, dy] = [(x1 - x0) / (side - 1), (y1 - y0) / (side - 1)];
  const cell = (/** @type {[number, number]} */ [x, y]) => Math.round((y - y0) / dy) * side + Math.round((x - x0) / dx);
  const price = Float32Array.from(
    { length: side * side },
    (_, c) => 1 + 12 * chart.doubtAt(x0 + (c % side) * dx, y0 + Math.floor(c / side) * dy),
  );
  const [start, goal] = [cell(from), cell(to)];
  const cost = new Float32Array(side * side).fill(Infinity);
  const back = new Int32Array(side * side).fill(-1);
  const heap = new Heap(cost);
  cost[start] = 0;
  heap.push(start);
  // Knights' steps as well: with the eight neighbours alone, ways bend at odd corners.
  const steps = [
    [1, 0],
    [0, 1],
    [1, 1],
    [1, -1],
    [2, 1],
    [1, 2],
    [2, -1],
    [1, -2],
  ].flatMap(([i, j]) => [
    [i, j],
    [-i, -j],
  ]);
  for (let c; (c = heap.pop()) !== undefined && c !== goal;) {
    const [i, j] = [c % side, Math.floor(c / side)];
    for (const [di, dj] of steps) {
      const [p, q] = [i + di, j + dj];
      if (p < 0 || q < 0 || p >= side || q >= side) continue;
      const next = q * side + p;
      const sum = cost[c] + (Math.hypot(di * dx, dj * dy) * (price[c] + price[next])) / 2;
      if (sum >= cost[next] - 1e-7) continue;
      cost[next] = sum;
      back[next] = c;
      heap.push(next);
    }
  }
  /** @type {[number, number][]} */
  const way = [];
  for (let c = goal; c >= 0; c = back[c]) way.push([x0 + (c % side) * dx, y0 + Math.floor(c / side) * dy]);
  way.reverse();
  return smooth([from, ...way.slice(1, -1), to]);
}

/** @param {number[]} box @param {...[number, number]} places */
function reach(box, ...places) {
  const [xs, ys] = [0, 1].map((k) => [box[k], box[k + 2], ...places.map((p) => p[k])]);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

/** @param {[number, number][]} way */
function smooth(way) {
  let now = way;
  for (let turn = 0; turn < 4; turn++) {
    now = now.map((p, i) =>
      i === 0 || i === now.length - 1
        ? p
        : /** @type {[number, number]} */ ([0, 1].map((k) => (now[i - 1][k] + 2 * p[k] + now[i + 1][k]) / 4)),
    );
  }
  return now;
}

/** The place a share of the way along a line. @param {[number, number][]} way @param {number} t @returns {[number, number]} */
export function along(way, t) {
  const lengths = way.slice(1).map((p, i) => Math.hypot(p[0] - way[i][0], p[1] - way[i][1]));
  let left = t * lengths.reduce((a, b) => a + b, 0);
  for (let i = 0; i < lengths.length; i++) {
    if (left <= lengths[i] || i === lengths.length - 1) {
      const s = lengths[i] > 0 ? Math.min(1, left / lengths[i]) : 0;
      return [way[i][0] + s * (way[i + 1][0] - way[i][0]), way[i][1] + s * (way[i + 1][1] - way[i][1])];
    }
    left -= lengths[i];
  }
  return way[0];
}

/** Cells by cost, the least first. */
class Heap {
  /** @type {{c: number, cost: number}[]} */ #all = [];

  /** @param {Float32Array} cost */
  constructor(cost) {
    this.cost = cost;
  }

  /** @param {number} c */
  push(c) {
    const all = this.#all;
    const one = { c, cost: this.cost[c] };
    let at = all.length;
    all.push(one);
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (all[up].cost <= one.cost) break;
      all[at] = all[up];
      at = up;
    }
    all[at] = one;
  }

  /** @returns {number | undefined} */
  pop() {
    const all = this.#all;
    const top = all[0];
    const last = all.pop();
    if (!top || !last) return undefined;
    if (all.length) {
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= all.length) break;
        if (child + 1 < all.length && all[child + 1].cost < all[child].cost) child++;
        if (all[child].cost >= last.cost) break;
        all[at] = all[child];
        at = child;
      }
      all[at] = last;
    }
    return top.c;
  }
}
