// One map of a run: a projection, the items' places, and what is drawn beneath them.

import { backgroundOf, floatsOf } from "./blocks.js";
import { contour, fieldOf, valueAt } from "./field.js";
import { Moments } from "./moments.js";
import { PlaceIndex } from "./neighbours.js";
import { projectionOf } from "./projection.js";

/** @typedef {import("./contract").ProjectionData} ProjectionData */
/** @typedef {{mass: number, lines: Float32Array}[]} Contours */
/** @typedef {{box: number[], columns: number, rows: number, atlas: Awaited<ReturnType<typeof import("./blocks.js").atlasOf>>}} BackgroundOf */

/** @param {import("./contract").Density | undefined} data @returns {Promise<Contours>} */
async function contoursOf(data) {
  if (!data) return [];
  const field = await fieldOf(data);
  return data.levels.map(({ value, mass }) => ({ mass, lines: contour(field, value) }));
}

export class Chart {
  /** @param {ProjectionData} data @param {Float32Array} codes @param {number} D */
  static async open(data, codes, D) {
    const n = codes.length / D;
    const [projection, places, doubt, background, prior, posterior] = await Promise.all([
      projectionOf(data, D),
      data.places ? floatsOf(data.places) : null,
      data.doubt ? fieldOf(data.doubt) : null,
      data.background ? backgroundOf(data.background) : null,
      contoursOf(data.prior),
      contoursOf(data.posterior),
    ]);
    const chart = new Chart(data, projection);
    chart.x = new Float32Array(n);
    chart.y = new Float32Array(n);
    for (let i = 0; i < n; i++) {
      const [x, y] = places ? [places[2 * i], places[2 * i + 1]] : projection.place(codes.subarray(i * D, (i + 1) * D));
      chart.x[i] = x;
      chart.y[i] = y;
    }
    chart.index = new PlaceIndex(chart.x, chart.y);
    Object.assign(chart, { doubt, background, prior, posterior });
    chart.snapshots = data.snapshots ? new Moments(data.snapshots, n) : null;
    chart.edge = doubt ? contour(doubt, 0.5) : new Float32Array();
    chart.box = background?.box ?? doubt?.box ?? chart.#extent();
    return chart;
  }

  /** @param {ProjectionData} data @param {import("./projection").Projection} projection */
  constructor(data, projection) {
    this.data = data;
    this.projection = projection;
    /** @type {Float32Array} */ this.x = new Float32Array();
    /** @type {Float32Array} */ this.y = new Float32Array();
    this.index = new PlaceIndex([], []);
    /** @type {import("./field").FieldOf | null} */ this.doubt = null;
    /** @type {BackgroundOf | null} */ this.background = null;
    /** @type {Contours} */ this.prior = [];
    /** @type {Contours} */ this.posterior = [];
    /** @type {Moments | null} */ this.snapshots = null;
    /** Where doubt is one half. @type {Float32Array} */ this.edge = new Float32Array();
    /** @type {number[]} */ this.box = [0, 0, 1, 1];
  }

  #extent() {
    const sorted = [this.x, this.y].map((v) => Float32Array.from(v).sort());
    const [x0, y0] = sorted.map((v) => v[0] ?? 0);
    const [x1, y1] = sorted.map((v) => v[v.length - 1] ?? 1);
    const margin = 0.06 * Math.max(x1 - x0, y1 - y0, 1e-6);
    return [x0 - margin, y0 - margin, x1 + margin, y1 + margin];
  }

  /** How far the map can be trusted at a place: 0 among the data, 1 in the dark. @param {number} x @param {number} y */
  doubtAt(x, y) {
    return this.doubt ? valueAt(this.doubt, x, y, 1) : 0;
  }

  /** @param {number} x @param {number} y */
  codeAt(x, y) {
    return this.projection.codeAt(x, y);
  }

  /** @param {ArrayLike<number>} code */
  place(code) {
    return this.projection.place(code);
  }
}
