// The decoded plane behind the points: cells of a picture each, finer ones as the map is enlarged.

import { rgbOf } from "./colours.js";
import { pen, canvasOf } from "./dom.js";
import { tileOf } from "./pictures.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./chart.js").Chart} Chart */
/** @typedef {import("./colours.js").Theme} Theme */
/** @typedef {import("./view.js").View} View */
/** @typedef {{values: Uint8ClampedArray | number, picture: HTMLCanvasElement | null}} Tile */

const COARSE = 24; // cells across the whole map, where Python made none
const BATCH = 24; // cells decoded at a time: the pointer waits for no more
const KEPT = 4000; // cells kept
const [PICTURE, PLAIN] = [46, 12]; // least pixels of a cell on screen, of pictures and of plain colours

/** The values of a column from the lightest shade to the darkest: its training range, of which no more than two standard
 * deviations to each side of the mean, so that a few large values do not leave all others alike. @param {Run} run @param {number} k */
export function shadesOf(run, k) {
  const column = run.data.columns?.[k];
  if (!column) return null;
  const scale = run.data.scaling?.scale;
  const reach = scale ? 2 * scale[k % scale.length] : Infinity;
  return { least: Math.max(column.least, column.mean - reach), most: Math.min(column.most, column.mean + reach) };
}

export class Plane {
  /** @type {Map<string, Tile>} */ #tiles = new Map();
  #refining = false;
  #wanted = "";

  /** @param {Run} run @param {Chart} chart @param {() => void} changed */
  constructor(run, chart, changed) {
    this.run = run;
    this.chart = chart;
    this.changed = changed;
    this.column = 0;
    /** The plane of another time, instead of this one's. @type {import("./chart.js").BackgroundOf | null} */
    this.then = null;
    this.light = false;
    this.pictures = run.kind === "image";
    const [x0, y0, x1, y1] = chart.box;
    const { columns, rows } = chart.background ?? {
      columns: COARSE,
      rows: Math.max(1, Math.round((COARSE * (y1 - y0)) / (x1 - x0))),
    };
    this.grid = { x: x0, y: y0, dx: (x1 - x0) / columns, dy: (y1 - y0) / rows, columns, rows };
    /** @type {HTMLCanvasElement | null} The coarse plane in the colours of the theme */ this.coarse = null;
  }

  /** Colours have changed. */
  repaint() {
    this.coarse = null;
    for (const tile of this.#tiles.values()) tile.picture = null;
  }

  /** Another column is shown. @param {number} column */
  use(column) {
    this.column = column;
    this.#tiles.clear();
    this.#wanted = "";
    this.changed();
  }

  /** How often cells are halved so that they stay small on screen. @param {View} view */
  level(view) {
    const least = this.pictures ? PICTURE : PLAIN;
    return Math.max(this.pictures ? 0 : -4, Math.min(12, Math.floor(Math.log2((this.grid.dx * view.k) / least))));
  }

  /** The cells in view: level, and column and row of the first and the last. @param {View} view */
  #seen(view) {
    const level = this.level(view);
    const scale = 2 ** -level;
    const [dx, dy] = [this.grid.dx * scale, this.grid.dy * scale];
    const [x0, y0, x1, y1] = view.bounds();
    const clamp = (/** @type {number} */ v, /** @type {number} */ count) =>
      Math.min(Math.ceil(count / scale) - 1, Math.max(0, Math.floor(v)));
    const { x, y, columns, rows } = this.grid;
    return {
      level,
      dx,
      dy,
      left: clamp((x0 - x) / dx, columns),
      right: clamp((x1 - x) / dx, columns),
      low: clamp((y0 - y) / dy, rows),
      high: clamp((y1 - y) / dy, rows),
    };
  }

  /** @param {CanvasRenderingContext2D} context @param {View} view @param {Theme} theme */
  draw(context, view, theme) {
    const strength = this.pictures ? (this.run.shape[2] >= 3 ? 0.8 : theme.dark ? 0.42 : 0.34) : 0.5;
    context.globalAlpha = strength;
    context.imageSmoothingEnabled = true;
    this.#drawCoarse(context, view, theme);
    if (!this.then) this.#drawTiles(context, view, theme);
    context.globalAlpha = 1;
  }

  /** @param {CanvasRenderingContext2D} context @param {View} view @param {Theme} theme */
  #drawCoarse(context, view, theme) {
    const background = this.then ?? this.chart.background;
    if (!background || (!this.then && this.level(view) > 0 && this.#complete(view))) return;
    this.coarse ??= this.#inTheme(background, theme);
    const {
      box: [x0, y0, x1, y1],
      columns,
      rows,
    } = background;
    const [left, top] = view.toScreen(x0, y1);
    const [w, t] = [((x1 - x0) * view.k) / columns, ((y1 - y0) * view.k) / rows];
    const level = this.then ? 0 : this.level(view);
    if (level > 0) context.globalAlpha *= 0.4;
    // In one piece: cells lie edge to edge in an atlas as in the plane, but row 0 is the lowest.
    context.drawImage(this.coarse, left, top, w * columns, t * rows);
    if (level > 0) context.globalAlpha /= 0.4;
  }

  /** The coarse plane as one picture, upright. @param {import("./chart.js").BackgroundOf} background @param {Theme} theme */
  #inTheme(background, theme) {
    const { columns, rows, atlas } = background;
    const canvas = canvasOf(columns * atlas.width, rows * atlas.height);
    const context = pen(canvas);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const k = r * columns + c;
        context.drawImage(
          atlas.image,
          (k % atlas.columns) * atlas.width,
          Math.floor(k / atlas.columns) * atlas.height,
          atlas.width,
          atlas.height,
          c * atlas.width,
          (rows - 1 - r) * atlas.height,
          atlas.width,
          atlas.height,
        );
      }
    }
    if (this.run.shape[2] < 3) {
      const image = context.getImageData(0, 0, canvas.width, canvas.height);
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(theme.ink.slice(at, at + 2), 16));
      for (let i = 0; i < image.data.length; i += 4) {
        const value = image.data[i];
        image.data[i] = red;
        image.data[i + 1] = green;
        image.data[i + 2] = blue;
        image.data[i + 3] = this.light ? 255 - value : value;
      }
      context.putImageData(image, 0, 0);
    }
    return canvas;
  }

  /** Whether all cells in view are decoded. @param {View} view */
  #complete(view) {
    const { level, left, right, low, high } = this.#seen(view);
    for (let r = low; r <= high; r++)
      for (let c = left; c <= right; c++) if (!this.#tiles.has(`${level}/${this.column}/${c}/${r}`)) return false;
    return true;
  }

  /** @param {CanvasRenderingContext2D} context @param {View} view @param {Theme} theme */
  #drawTiles(context, view, theme) {
    const { level, dx, dy, left, right, low, high } = this.#seen(view);
    if (level === 0 && this.chart.background) return;
    const [w, t] = [dx * view.k, dy * view.k];
    if (!this.pictures) return this.#drawShade(context, view, theme);
    for (let r = low; r <= high; r++) {
      for (let c = left; c <= right; c++) {
        const tile = this.#tiles.get(`${level}/${this.column}/${c}/${r}`);
        if (!tile) continue;
        const [x, y] = view.toScreen(this.grid.x + c * dx, this.grid.y + (r + 1) * dy);
        if (typeof tile.values === "number") continue;
        tile.picture ??= tileOf(tile.values, this.run.shape, theme, this.light);
        context.drawImage(tile.picture, x + 0.5, y + 0.5, w - 1, t - 1);
      }
    }
  }

  /** Of tables: one column as ink, light to dark. @param {CanvasRenderingContext2D} context @param {View} view
   * @param {Theme} theme */
  #drawShade(context, view, theme) {
    const { level, dx, dy, left, right, low, high } = this.#seen(view);
    const [columns, rows] = [right - left + 1, high - low + 1];
    const image = new ImageData(columns, rows);
    const ink = rgbOf(theme.ink);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const tile = this.#tiles.get(`${level}/${this.column}/${left + c}/${low + r}`);
        if (typeof tile?.values === "number")
          image.data.set([...ink, 255 * Math.min(1, Math.max(0.04, tile.values))], 4 * ((rows - 1 - r) * columns + c));
      }
    }
    const canvas = canvasOf(columns, rows);
    pen(canvas).putImageData(image, 0, 0);
    const [x, y] = view.toScreen(this.grid.x + left * dx, this.grid.y + (high + 1) * dy);
    context.drawImage(canvas, x, y, columns * dx * view.k, rows * dy * view.k);
  }

  /** Decodes what is in view and missing, the middle first. @param {View} view */
  async refine(view) {
    const { level, dx, dy, left, right, low, high } = this.#seen(view);
    const { decoder } = this.run;
    if (!decoder?.decodes || this.then || (level === 0 && this.chart.background)) return;
    const wanted = [level, this.column, left, right, low, high].join("/");
    this.#wanted = wanted;
    if (this.#refining) return;
    /** @type {{key: string, c: number, r: number}[]} */
    const missing = [];
    for (let r = low; r <= high; r++) {
      for (let c = left; c <= right; c++) {
        const key = `${level}/${this.column}/${c}/${r}`;
        if (!this.#tiles.has(key)) missing.push({ key, c, r });
      }
    }
    if (!missing.length) return;
    const away = (/** @type {{c: number, r: number}} */ p) =>
      Math.hypot(p.c - (left + right) / 2, p.r - (low + high) / 2);
    missing.sort((a, b) => away(a) - away(b));
    this.#refining = true;
    try {
      const size = this.pictures ? BATCH : 20 * BATCH;
      for (let at = 0; at < missing.length && this.#wanted === wanted; at += size) {
        await this.#decode(missing.slice(at, at + size), dx, dy);
        this.changed();
        await new Promise((go) => setTimeout(go));
      }
    } catch {
      this.#wanted = ""; // the pointer says what is wrong with the decoder
      return;
    } finally {
      this.#refining = false;
    }
    if (this.#wanted !== wanted) this.changed();
  }

  /** @param {{key: string, c: number, r: number}[]} cells @param {number} dx @param {number} dy */
  async #decode(cells, dx, dy) {
    const { run, chart, grid } = this;
    const codes = new Float32Array(cells.length * run.latent);
    cells.forEach(({ c, r }, i) =>
      codes.set(chart.codeAt(grid.x + (c + 0.5) * dx, grid.y + (r + 0.5) * dy), i * run.latent),
    );
    const values = await /** @type {import("./contract").Decoder} */ (run.decoder).decode(codes, cells.length);
    const span = shadesOf(run, this.column);
    cells.forEach(({ key }, i) => {
      if (this.pictures) {
        const bytes = Uint8ClampedArray.from(values.subarray(i * run.size, (i + 1) * run.size), (v) => 255 * v);
        this.#tiles.set(key, { values: bytes, picture: null });
      } else {
        const value = values[i * run.size + this.column];
        this.#tiles.set(key, {
          values: span ? (value - span.least) / (span.most - span.least || 1) : value,
          picture: null,
        });
      }
    });
    for (const key of this.#tiles.keys()) {
      if (this.#tiles.size <= KEPT) break;
      this.#tiles.delete(key);
    }
  }
}
