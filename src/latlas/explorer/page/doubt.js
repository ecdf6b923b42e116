// Doubt where Python measured none: the distance of the plane's codes to the data.

import { contour } from "./field.js";
import { nearestRows } from "./neighbours.js";

/** @typedef {import("./chart.js").Chart} Chart */
/** @typedef {import("./run.js").Run} Run */

const COLUMNS = 56;
const WORK = 6e7; // multiplications that a person does not wait for

/** 0 at `from` and below, 1 at `to` and above, smooth between. @param {number} value @param {number} from @param {number} to */
function ramp(value, from, to) {
  const t = Math.min(1, Math.max(0, (value - from) / (to - from)));
  return t * t * (3 - 2 * t);
}

/** How little a code can be trusted for its distance alone, in those of test items. @param {number} times */
export const doubtOfDistance = (times) => (Number.isNaN(times) ? 0 : ramp(times, 2, 6));

/** Gives a chart a doubt field. @param {Chart} chart @param {Run} run */
export function measureDoubt(chart, run) {
  const [x0, y0, x1, y1] = chart.box;
  const columns = COLUMNS;
  const rows = Math.max(4, Math.min(120, Math.round((columns * (y1 - y0)) / (x1 - x0 || 1))));
  const D = run.latent;
  // Fewer codes lie further apart, so their own typical distance is the measure.
  const count = Math.max(100, Math.floor(WORK / (columns * rows * D)));
  const step = Math.max(1, Math.ceil(run.sample.length / D / count));
  const some = step === 1 ? run.sample : thinned(run.sample, D, step);
  const typical = step === 1 ? run.typical : typicalDistance(some, run.codes, D);
  const values = new Float32Array(columns * rows);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      const code = chart.codeAt(x0 + ((c + 0.5) / columns) * (x1 - x0), y0 + ((r + 0.5) / rows) * (y1 - y0));
      values[r * columns + c] = doubtOfDistance((nearestRows(some, D, code, 1)[0]?.d ?? Infinity) / typical);
    }
  }
  chart.doubt = { box: chart.box, columns, rows, values };
  chart.edge = contour(chart.doubt, 0.5);
}

/** @param {Float32Array} rows @param {number} D @param {number} step */
function thinned(rows, D, step) {
  const given = new Float32Array(Math.ceil(rows.length / D / step) * D);
  for (let k = 0; k * step * D < rows.length; k++) given.set(rows.subarray(k * step * D, k * step * D + D), k * D);
  return given;
}

/** The median distance of an item to the nearest of these rows that is not itself. @param {Float32Array} rows @param {Float32Array} codes @param {number} D */
export function typicalDistance(rows, codes, D) {
  const n = codes.length / D;
  const step = Math.max(1, Math.floor(n / 300));
  const found = [];
  for (let i = 0; i < n; i += step) {
    const other = nearestRows(rows, D, codes.subarray(i * D, (i + 1) * D), 2).find(({ d }) => d > 0);
    if (other) found.push(other.d);
  }
  found.sort((a, b) => a - b);
  return found[found.length >> 1] || 1;
}
