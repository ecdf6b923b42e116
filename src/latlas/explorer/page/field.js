// Values over the plane: a grid, read between its cells; and the lines on which it has one value.

import { floatsOf } from "./blocks.js";

/** @typedef {{box: number[], columns: number, rows: number, values: Float32Array}} FieldOf */

/** @param {import("./contract").Field} data @returns {Promise<FieldOf>} */
export async function fieldOf(data) {
  return { box: data.box, columns: data.columns, rows: data.rows, values: await floatsOf(data.values, true) };
}

/** The value at a place, bilinear between centres of cells; `outside` beyond the box.
 * @param {FieldOf} field @param {number} x @param {number} y @param {number} outside */
export function valueAt(field, x, y, outside) {
  const {
    box: [x0, y0, x1, y1],
    columns,
    rows,
    values,
  } = field;
  if (!(x >= x0 && x <= x1 && y >= y0 && y <= y1)) return outside;
  const u = Math.min(columns - 1, Math.max(0, ((x - x0) / (x1 - x0)) * columns - 0.5));
  const v = Math.min(rows - 1, Math.max(0, ((y - y0) / (y1 - y0)) * rows - 0.5));
  const [i, j] = [Math.min(columns - 2, Math.floor(u)), Math.min(rows - 2, Math.floor(v))].map((k) => Math.max(0, k));
  const [a, b] = [u - i, v - j];
  const [right, up] = [i + 1 < columns ? 1 : 0, j + 1 < rows ? columns : 0];
  const at = j * columns + i;
  return (
    (values[at] * (1 - a) + values[at + right] * a) * (1 - b) +
    (values[at + up] * (1 - a) + values[at + up + right] * a) * b
  );
}

/** Segments [xa, ya, xb, yb, ...] on which the field is `level`: marching squares. @param {FieldOf} field @param {number} level
 * @returns {Float32Array} */
export function contour(field, level) {
  const {
    box: [x0, y0, x1, y1],
    columns,
    rows,
    values,
  } = field;
  const [dx, dy] = [(x1 - x0) / columns, (y1 - y0) / rows];
  /** @type {number[]} */
  const found = [];
  const value = (/** @type {number} */ i, /** @type {number} */ j) => values[j * columns + i];
  for (let j = 0; j + 1 < rows; j++) {
    for (let i = 0; i + 1 < columns; i++) {
      const corners = [value(i, j), value(i + 1, j), value(i + 1, j + 1), value(i, j + 1)];
      const spots = [
        [0, 0],
        [1, 0],
        [1, 1],
        [0, 1],
      ];
      /** @type {number[][]} */
      const cuts = [];
      for (let e = 0; e < 4; e++) {
        const [a, b] = [corners[e], corners[(e + 1) % 4]];
        if (a < level === b < level) continue;
        const t = (level - a) / (b - a);
        const [p, q] = [spots[e], spots[(e + 1) % 4]];
        cuts.push([x0 + (i + 0.5 + p[0] + t * (q[0] - p[0])) * dx, y0 + (j + 0.5 + p[1] + t * (q[1] - p[1])) * dy]);
      }
      for (let c = 0; c + 1 < cuts.length; c += 2) found.push(...cuts[c], ...cuts[c + 1]);
    }
  }
  return Float32Array.from(found);
}
