// A run as the page uses it: its items, its maps, its model.

import { asked, atlasOf, bytesOf, floatsOf, integersOf } from "./blocks.js";
import { Chart } from "./chart.js";
import { openDecoder } from "./decoder.js";
import { measureDoubt, typicalDistance } from "./doubt.js";
import { nearestRows } from "./neighbours.js";

/** @typedef {import("./contract").RunData} RunData */

const NUMBERS = /** @type {const} */ (["elbo", "distortion", "rate", "squared_error"]);

export class Run {
  /** What the first picture needs. @param {RunData} data @param {number} at its place among the runs */
  static async open(data, at) {
    const run = new Run(data, at);
    const { items } = data;
    [run.codes, run.labels, run.rows] = await Promise.all([
      floatsOf(items.codes),
      items.labels ? integersOf(items.labels) : new Int32Array(items.n).fill(-1),
      items.rows ? integersOf(items.rows) : null,
    ]);
    run.charts = [await Chart.open(data.projections[0], run.codes, run.latent)];
    run.chart = run.charts[0];
    return run;
  }

  /** @param {RunData} data @param {number} at */
  constructor(data, at) {
    this.data = data;
    this.at = at;
    this.name = data.name;
    this.kind = data.kind;
    this.shape = data.shape;
    this.latent = data.latent;
    this.n = data.items.n;
    this.size = data.shape.reduce((a, b) => a * b, 1);
    this.classes = data.classes;
    /** @type {Float32Array} */ this.codes = new Float32Array();
    /** @type {Int32Array} */ this.labels = new Int32Array();
    /** @type {Int32Array | null} */ this.rows = null;
    /** @type {Chart[]} */ this.charts = [];
    /** @type {Chart} */ this.chart = /** @type {any} */ (null);
    /** @type {Float32Array | null} */ this.deviations = null;
    /** @type {Float32Array | null} */ this.kl = null;
    /** Values of all items; bytes stay bytes, a quarter of the memory. @type {Float32Array | Uint8Array | null} */ this.values =
      null;
    /** @type {Awaited<ReturnType<typeof atlasOf>> | null} */ this.thumbnails = null;
    /** @type {Partial<Record<typeof NUMBERS[number], Float32Array>>} */ this.numbers = {};
    /** @type {Float32Array} Codes of training items */ this.sample = new Float32Array();
    this.typical = 1;
    /** The usual length of a code's standard deviations; 0 without them. */
    this.width = 0;
    /** @type {Float32Array | null} */ this.draws = null;
    /** @type {import("./contract").Decoder | null} */ this.decoder = null;
    /** What went wrong with the model, in words. */ this.trouble = "";
    /** @type {{index: number, least: number, most: number}[]} */ this.spans = [];
  }

  /** Everything else but the model. */
  async fill() {
    const { items, sample, prior, projections } = this.data;
    const optional = (/** @type {import("./contract").Block | undefined} */ block) => (block ? floatsOf(block) : null);
    const [thumbnails, codes] = await Promise.all([
      items.thumbnails ? atlasOf(items.thumbnails) : null,
      floatsOf(sample.codes),
    ]);
    this.thumbnails = thumbnails;
    this.sample = codes.length ? codes : this.codes;
    const values = items.values?.type === "uint8" ? bytesOf(items.values) : optional(items.values);
    [this.deviations, this.kl, this.values, this.draws] = await Promise.all([
      optional(items.deviations),
      optional(items.kl),
      values,
      optional(prior?.draws),
    ]);
    for (const name of NUMBERS) {
      const block = items[name];
      if (block) this.numbers[name] = await floatsOf(block);
    }
    this.typical =
      sample.typical && sample.typical > 0 ? sample.typical : typicalDistance(this.sample, this.codes, this.latent);
    this.width = this.#width();
    this.spans = this.#spans();
    for (const other of projections.slice(1)) this.charts.push(await Chart.open(other, this.codes, this.latent));
    for (const chart of this.charts) if (!chart.doubt) measureDoubt(chart, this);
  }

  /** Opens the model; a failure is kept in `trouble`. @param {import("./contract").Block | undefined} wasm
   * @param {import("./contract").Decoder} [given] */
  async wake(wasm, given) {
    try {
      this.decoder = given ?? (await openDecoder(this.data, wasm));
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
  }

  /** The map along two dimensions. @param {number} i @param {number} j */
  async alongAxes(i, j) {
    const rest = Array.from(
      { length: this.latent },
      (_, k) => this.spans[k]?.least + (this.spans[k]?.most - this.spans[k]?.least) / 2 || 0,
    );
    const chart = await Chart.open(
      { kind: "axes", title: `Dimensions ${i + 1} and ${j + 1}`, axes: [i, j], rest },
      this.codes,
      this.latent,
    );
    measureDoubt(chart, this);
    return chart;
  }

  #width() {
    const { deviations, latent: D, n } = this;
    if (!deviations) return 0;
    const lengths = Float32Array.from({ length: n }, (_, i) => Math.hypot(...deviations.subarray(i * D, (i + 1) * D)));
    return lengths.sort()[n >> 1];
  }

  /** The range of each dimension over the items. */
  #spans() {
    return Array.from({ length: this.latent }, (_, k) => {
      let [least, most] = [Infinity, -Infinity];
      for (let at = k; at < this.codes.length; at += this.latent) {
        least = Math.min(least, this.codes[at]);
        most = Math.max(most, this.codes[at]);
      }
      if (!(most > least)) [least, most] = [least - 1 || -1, most + 1 || 1];
      const margin = 0.1 * (most - least);
      return { index: k, least: least - margin, most: most + margin };
    });
  }

  /** @param {number} i */
  code(i) {
    return this.codes.subarray(i * this.latent, (i + 1) * this.latent);
  }

  /** The distance of a code to the data, in those of test items. @param {ArrayLike<number>} code */
  times(code) {
    const near = nearestRows(this.sample, this.latent, code, 1);
    return near.length ? near[0].d / this.typical : Infinity;
  }

  /** @param {ArrayLike<number>} code @param {number} count @param {number} [except] an item */
  nearestItems(code, count, except = -1) {
    return nearestRows(this.codes, this.latent, code, count, except < 0 ? undefined : (i) => i !== except);
  }

  /** The class of most of these items. @param {{i: number}[]} near @returns {{label: number, count: number} | null} */
  classOf(near) {
    if (!this.classes.length) return null;
    /** @type {Map<number, number>} */
    const votes = new Map();
    for (const { i } of near) if (this.labels[i] >= 0) votes.set(this.labels[i], (votes.get(this.labels[i]) ?? 0) + 1);
    const best = [...votes].sort((a, b) => b[1] - a[1])[0];
    return best ? { label: best[0], count: best[1] } : null;
  }

  /** @param {number} label */
  className(label) {
    return label < 0 ? "no label" : (this.classes[label] ?? String(label));
  }

  /** @param {number} i */
  rowOf(i) {
    return this.rows ? this.rows[i] : i;
  }

  /** @param {number} i */
  itemName(i) {
    return this.data.items.names?.[i] ?? `Row ${this.rowOf(i)}`;
  }

  /** The values of an item, null where this page lacks them. @param {number} i @returns {Promise<Float32Array | null>} */
  async valuesOf(i) {
    const some = this.values?.subarray(i * this.size, (i + 1) * this.size);
    if (some instanceof Uint8Array) return Float32Array.from(some, (v) => v / 255);
    if (some) return some;
    const address = this.data.items.values_url;
    if (!address) return null;
    const bytes = await asked(address.replace("{row}", String(i)));
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  }

  /** Items nearest in values, where the page has them. @param {number} i @param {number} count */
  nearestInValues(i, count) {
    if (!this.values || this.values.length > 1e8) return [];
    const bytes = this.values instanceof Uint8Array; // then of one scale already
    const all = this.values instanceof Uint8Array ? this.values : this.#onScale(this.values);
    const near = nearestRows(
      all,
      this.size,
      all.subarray(i * this.size, (i + 1) * this.size),
      count,
      (other) => other !== i,
    );
    return bytes ? near.map(({ i: other, d }) => ({ i: other, d: d / 255 })) : near;
  }

  /** Values on the model's scale, on which a column's units do not matter. @param {Float32Array} values */
  #onScale(values) {
    const scaling = this.data.scaling;
    if (!scaling) return values;
    const { shift, scale } = scaling;
    return values.map((v, k) => (v - shift[k % shift.length]) / scale[k % scale.length]);
  }

  /** Mean squared difference on the model's scale. @param {Float32Array} a @param {Float32Array} b */
  error(a, b) {
    const [p, q] = [this.#onScale(a), this.#onScale(b)];
    return p.reduce((sum, v, k) => sum + (v - q[k]) ** 2, 0) / p.length;
  }

  /** A number of each item that points can be coloured by: of the run, or a table's column ("column:0"). @param {string} key @returns {Float32Array | null} */
  coloursOf(key) {
    const { values, size } = this;
    const column = key.startsWith("column:") ? Number(key.slice(7)) : -1;
    if (column < 0) return Object.entries(this.numbers).find(([name]) => name === key)?.[1] ?? null;
    if (!values || this.kind === "image" || !(column < size)) return null;
    return Float32Array.from({ length: this.n }, (_, i) => values[i * size + column]);
  }

  /** The share of test items that are reconstructed better than this. @param {number} error */
  worseThan(error) {
    const all = this.numbers.squared_error;
    return all ? all.reduce((count, v) => count + (v < error ? 1 : 0), 0) / all.length : NaN;
  }

  /** One draw from the prior. */
  draw() {
    if (this.draws) {
      const row = Math.floor((Math.random() * this.draws.length) / this.latent);
      return this.draws.slice(row * this.latent, (row + 1) * this.latent);
    }
    return Float32Array.from(
      { length: this.latent },
      () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()),
    );
  }
}
