// Nearest points: of places by a grid, of codes by looking at all of them.

/** Points of the plane in cells. */
export class PlaceIndex {
  /** @param {ArrayLike<number>} x @param {ArrayLike<number>} y */
  constructor(x, y) {
    const n = x.length;
    this.x = x;
    this.y = y;
    let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = 0; i < n; i++) {
      if (x[i] < x0) x0 = x[i];
      if (x[i] > x1) x1 = x[i];
      if (y[i] < y0) y0 = y[i];
      if (y[i] > y1) y1 = y[i];
    }
    if (!n) [x0, y0, x1, y1] = [0, 0, 1, 1];
    this.x0 = x0;
    this.y0 = y0;
    this.side = Math.max(1, Math.min(512, Math.round(Math.sqrt(n / 3))));
    this.cell = Math.max((x1 - x0) / this.side, (y1 - y0) / this.side, 1e-9) * 1.000001;
    this.starts = new Int32Array(this.side * this.side + 1);
    this.members = new Int32Array(n);
    const cells = new Int32Array(n);
    for (let i = 0; i < n; i++) {
      cells[i] = this.#row(y[i]) * this.side + this.#column(x[i]);
      this.starts[cells[i] + 1]++;
    }
    for (let c = 0; c < this.side * this.side; c++) this.starts[c + 1] += this.starts[c];
    const next = this.starts.slice();
    for (let i = 0; i < n; i++) this.members[next[cells[i]]++] = i;
  }

  /** @param {number} x */
  #column(x) {
    return Math.max(0, Math.min(this.side - 1, Math.floor((x - this.x0) / this.cell)));
  }

  /** @param {number} y */
  #row(y) {
    return Math.max(0, Math.min(this.side - 1, Math.floor((y - this.y0) / this.cell)));
  }

  /** Calls for each point in a box. @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1
   * @param {(i: number) => void} visit */
  within(x0, y0, x1, y1, visit) {
    for (let r = this.#row(y0), last = this.#row(y1); r <= last; r++) {
      for (let c = this.#column(x0), end = this.#column(x1); c <= end; c++) {
        const cell = r * this.side + c;
        for (let k = this.starts[cell]; k < this.starts[cell + 1]; k++) {
          const i = this.members[k];
          if (this.x[i] >= x0 && this.x[i] <= x1 && this.y[i] >= y0 && this.y[i] <= y1) visit(i);
        }
      }
    }
  }

  /** The `count` nearest points, nearest first. @param {number} x @param {number} y @param {number} count
   * @param {(i: number) => boolean} [counts] @returns {{i: number, d: number}[]} */
  nearest(x, y, count, counts) {
    /** @type {{i: number, d: number}[]} */
    const best = [];
    const row = Math.floor((y - this.y0) / this.cell);
    const column = Math.floor((x - this.x0) / this.cell);
    // How many rings lie between the point and the grid, and how many until all cells have been seen.
    const skip = Math.max(0, -row, row - this.side + 1, -column, column - this.side + 1);
    const last = Math.max(row, this.side - 1 - row, column, this.side - 1 - column, 0);
    for (let ring = skip; ring <= last; ring++) {
      if (best.length === count && best[count - 1].d < (ring - 1) * this.cell) break;
      for (let r = Math.max(0, row - ring); r <= Math.min(this.side - 1, row + ring); r++) {
        const edge = Math.abs(r - row) === ring;
        const step = edge || ring === 0 ? 1 : 2 * ring;
        for (let c = column - ring; c <= column + ring; c += step) {
          if (c < 0 || c >= this.side) continue;
          const cell = r * this.side + c;
          for (let k = this.starts[cell]; k < this.starts[cell + 1]; k++) {
            const i = this.members[k];
            if (counts && !counts(i)) continue;
            keep(best, count, i, Math.hypot(this.x[i] - x, this.y[i] - y));
          }
        }
      }
    }
    return best;
  }
}

/** Puts a candidate in its place. @param {{i: number, d: number}[]} best @param {number} count @param {number} i @param {number} d */
function keep(best, count, i, d) {
  if (best.length === count && d >= best[count - 1].d) return;
  let at = best.length;
  while (at > 0 && best[at - 1].d > d) at--;
  best.splice(at, 0, { i, d });
  if (best.length > count) best.pop();
}

/** The `count` nearest rows of `rows` (n, D), nearest first. @param {ArrayLike<number>} rows @param {number} D
 * @param {ArrayLike<number>} point @param {number} count @param {(i: number) => boolean} [counts]
 * @returns {{i: number, d: number}[]} */
export function nearestRows(rows, D, point, count, counts) {
  /** @type {{i: number, d: number}[]} */
  const best = [];
  let limit = Infinity;
  for (let i = 0, at = 0; at < rows.length; i++, at += D) {
    let sum = 0;
    for (let k = 0; k < D && sum < limit; k++) {
      const difference = rows[at + k] - point[k];
      sum += difference * difference;
    }
    if (sum >= limit || (counts && !counts(i))) continue;
    keep(best, count, i, sum);
    if (best.length === count) limit = best[count - 1].d;
  }
  for (const one of best) one.d = Math.sqrt(one.d);
  return best;
}

/** The distance-weighted mean of rows: weights 1 / d, and the row itself where d is 0. @param {Float32Array} rows @param {number} D
 * @param {{i: number, d: number}[]} near @returns {Float32Array} */
export function weighted(rows, D, near) {
  const given = new Float32Array(D);
  let total = 0;
  for (const { i, d } of near) {
    const weight = 1 / Math.max(d, 1e-9);
    total += weight;
    for (let k = 0; k < D; k++) given[k] += weight * rows[i * D + k];
  }
  for (let k = 0; k < D; k++) given[k] /= total || 1;
  return given;
}
