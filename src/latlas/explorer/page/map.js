// The map of one run on three canvases: plane and doubt; points with lines and names; marks that follow the pointer.

import { classColour, css, packed, rgbOf, scaleColour } from "./colours.js";
import { canvasOf, h, pen, still } from "./dom.js";
import { listen } from "./gestures.js";
import { Overlay, noMarks } from "./overlay.js";
import { drawThumbnail, frame, inked } from "./pictures.js";
import { Plane } from "./plane.js";
import { drawPoints, radiusOf } from "./points.js";
import { View } from "./view.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./chart.js").Chart} Chart */
/** @typedef {import("./colours.js").Theme} Theme */

const [BACK, POINTS, OVER, POINTER] = [1, 2, 4, 8];
const CURSOR = 32; // pixels of the pointer's own canvas
const [PICTURE, CELL] = [30, 36]; // pixels of a thumbnail on the map, and of the cell that it has to itself
const MOST_PICTURES = 500;

export const LAYERS = /** @type {const} */ (["points", "pictures", "plane", "doubt", "density", "names"]);
/** @typedef {Record<typeof LAYERS[number], boolean>} Layers */

/**
 * @typedef {object} Heard
 * @property {(x: number, y: number) => void} point
 * @property {() => void} leave
 * @property {(x: number, y: number, item: number) => void} pick item is -1 where none is near
 * @property {(places: [number, number][], done: boolean) => void} drawn
 * @property {(key: string) => boolean} key
 * @property {() => void} moved the view has changed
 */

export class MapOfRun {
  view = new View();
  marks = noMarks();
  /** @type {"look" | "lasso" | "path"} */ tool = "look";
  /** @type {Set<number>} Labels that the legend has switched off */ hidden = new Set();
  /** @type {number | null} A label that stands out for a moment */ bright = null;
  /** @type {string} "class", or what `Run.coloursOf` takes */ colouring = "class";
  /** The moment of training whose places are shown, between snapshots; null is the end. @type {number | null} */
  moment = null;
  #dirty = 0;
  #asked = false;
  #fitted = false;
  /** @type {[number, number][]} */ #stroke = [];
  /** @type {[number, number] | null} The reticle that keys move */ #reticle = null;
  /** @type {HTMLCanvasElement | null} */ #fog = null;
  #tween = 0;
  /** @type {ImageData | null} The pixels of the points, used again */ #image = null;
  /** @type {{x: Float32Array, tween: number, middles: {label: number, name: string, place: [number, number]}[]} | null} */ #names =
    null;
  /** Pixels of a canvas for each of the page's. @type {number} */
  ratio = 1;

  /** @param {Run} run @param {Theme} theme @param {Layers} layers @param {Heard} heard */
  constructor(run, theme, layers, heard) {
    this.run = run;
    this.theme = theme;
    this.layers = layers;
    this.heard = heard;
    this.canvases = [0, 1, 2].map(() => h("canvas", { "aria-hidden": "true" }));
    // The pointer moves at every frame: a small canvas of its own is only shifted, where a large one would be drawn again.
    this.cursor = h("canvas", { "aria-hidden": "true", class: "cursor", hidden: true });
    this.element = h(
      "div",
      {
        class: "map",
        tabindex: "0",
        role: "application",
        data: { latlas: "map", run: String(run.at) },
        "aria-label": `Map of ${run.name}: ${run.n} items. Arrow keys move the pointer, plus and minus zoom, Enter picks the nearest item, 0 shows everything.`,
      },
      ...this.canvases,
      this.cursor,
    );
    this.chart = run.chart;
    this.plane = new Plane(run, run.chart, () => this.redraw(BACK));
    this.x = run.chart.x;
    this.y = run.chart.y;
    this.colours = new Uint32Array(run.n);
    this.shown = new Uint8Array(run.n).fill(2);
    this.recolour();
    this.#listen();
    new ResizeObserver(() => this.#resize()).observe(this.element);
  }

  #listen() {
    const { view } = this;
    listen(this.element, {
      point: (px, py) => {
        this.#reticle = null;
        this.heard.point(...view.toPlane(px, py));
      },
      leave: () => this.heard.leave(),
      pick: (px, py) => this.#pick(px, py),
      pan: (dx, dy) => {
        view.pan(dx, dy);
        this.moved();
      },
      zoom: (factor, px, py) => {
        view.zoom(factor, px, py);
        this.moved();
      },
      draws: () => this.tool !== "look",
      draw: (px, py, phase) => {
        if (phase === "begin") this.#stroke = [];
        this.#stroke.push(view.toPlane(px, py));
        this.heard.drawn(this.#stroke, phase === "end");
      },
      nudge: (dx, dy) => this.#nudge(dx, dy),
      key: (key) => this.#key(key),
    });
  }

  /** @param {number} dx @param {number} dy */
  #nudge(dx, dy) {
    const { view } = this;
    const from = this.#reticle ?? this.marks.pointer ?? this.marks.pinned ?? [view.x, view.y];
    const to = view.toPlane(
      .../** @type {[number, number]} */ ([0, 1].map((k) => view.toScreen(from[0], from[1])[k] + [dx, dy][k])),
    );
    this.#reticle = to;
    const [px, py] = view.toScreen(...to);
    const margin = 40;
    view.pan(
      px < margin ? margin - px : px > view.width - margin ? view.width - margin - px : 0,
      py < margin ? margin - py : py > view.height - margin ? view.height - margin - py : 0,
    );
    this.heard.point(...to);
    this.redraw();
  }

  /** @param {string} key */
  #key(key) {
    if (key === "0") this.fit();
    else if (key === "Enter" || key === " ") {
      const at = this.#reticle ?? this.marks.pointer ?? [this.view.x, this.view.y];
      const [near] = this.chart.index.nearest(at[0], at[1], 1, (i) => this.shown[i] > 0);
      if (near) this.heard.pick(this.x[near.i], this.y[near.i], near.i);
    } else return this.heard.key(key);
    return true;
  }

  /** @param {number} px @param {number} py */
  #pick(px, py) {
    const [x, y] = this.view.toPlane(px, py);
    const reach = (this.#pictured() > 0 ? PICTURE / 2 : 10) / this.view.k;
    const [near] = this.past ? [] : this.chart.index.nearest(x, y, 1, (i) => this.shown[i] > 0);
    this.heard.pick(x, y, near && near.d <= reach ? near.i : -1);
  }

  #resize() {
    const { width, height } = this.element.getBoundingClientRect();
    if (!width || !height) return;
    const ratio = Math.min(2, devicePixelRatio || 1);
    this.ratio = ratio;
    for (const canvas of this.canvases) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    Object.assign(this.view, { width, height });
    if (!this.#fitted) this.view.fit(this.chart.box);
    else {
      const { x, y, k, whole } = this.view;
      this.view.fit(this.chart.box);
      Object.assign(this.view, { x, y, k: (k / whole) * this.view.whole });
    }
    if (!this.#fitted) performance.mark("latlas-map"); // how soon there is something to see
    this.#fitted = true;
    this.#drawCursor();
    this.#draw(BACK | POINTS | OVER | POINTER);
    this.plane.refine(this.view);
  }

  fit() {
    this.view.fit(this.chart.box);
    this.moved();
  }

  /** Brings a place to the middle. @param {number} x @param {number} y @param {number} [least] zoom */
  show(x, y, least = 1) {
    const { view } = this;
    Object.assign(view, { x, y, k: Math.max(view.k, view.whole * least) });
    this.moved();
  }

  moved() {
    this.redraw();
    this.heard.moved();
  }

  /** @param {Theme} theme */
  dress(theme) {
    this.theme = theme;
    this.#fog = null;
    this.plane.repaint();
    this.#drawCursor();
    this.recolour();
  }

  /** Another projection; points fly there. @param {Chart} chart */
  use(chart) {
    const [x, y] = [this.x, this.y];
    this.chart = chart;
    this.run.chart = chart;
    const { column, light } = this.plane;
    this.plane = new Plane(this.run, chart, () => this.redraw(BACK));
    Object.assign(this.plane, { column, light });
    this.#fog = null;
    this.moment = null;
    this.fit();
    this.#fly(x, y, chart.x, chart.y);
  }

  /** @param {Float32Array} x0 @param {Float32Array} y0 @param {Float32Array} x1 @param {Float32Array} y1 */
  #fly(x0, y0, x1, y1) {
    const turn = ++this.#tween;
    if (still() || this.run.n > 30000) {
      [this.x, this.y] = [x1, y1];
      return this.redraw();
    }
    [this.x, this.y] = [Float32Array.from(x0), Float32Array.from(y0)];
    const began = performance.now();
    const step = () => {
      if (turn !== this.#tween) return;
      const t = Math.min(1, (performance.now() - began) / 700);
      const ease = t * t * (3 - 2 * t);
      this.#names = null;
      for (let i = 0; i < x0.length; i++) {
        this.x[i] = x0[i] + ease * (x1[i] - x0[i]);
        this.y[i] = y0[i] + ease * (y1[i] - y0[i]);
      }
      if (t < 1) requestAnimationFrame(step);
      else [this.x, this.y] = [x1, y1];
      this.redraw(POINTS | OVER);
    };
    step();
  }

  /** Whether the places are those of an earlier step. */
  get past() {
    return this.moment !== null;
  }

  /** The step of the snapshot that is shown; null at the end. */
  get step() {
    return this.moment === null ? null : (this.chart.snapshots?.steps[Math.round(this.moment)] ?? null);
  }

  /** Places at a moment of training, between snapshots; null is the end. @param {number | null} moment */
  at(moment) {
    const { snapshots } = this.chart;
    const came = moment === null && !this.past;
    this.moment = snapshots ? moment : null;
    if (came) return;
    this.#tween++;
    if (!snapshots || moment === null) {
      [this.x, this.y] = [this.chart.x, this.chart.y];
      this.#then(null);
    } else {
      const again = () => this.chart.snapshots === snapshots && this.past && this.at(this.moment);
      if (snapshots.points) this.#placeAt(moment, snapshots.points);
      else snapshots.read().then(again);
      const plane = snapshots.plane(Math.round(moment), again);
      if (plane !== undefined) this.#then(plane); // until it is there, the one before stays
    }
    this.redraw();
  }

  /** @param {number} moment @param {NonNullable<import("./moments.js").Moments["points"]>} points */
  #placeAt(moment, { items, places }) {
    const a = Math.floor(moment);
    const b = Math.min(places.length / (2 * items.length) - 1, a + 1);
    const t = moment - a;
    [this.x, this.y] = [new Float32Array(this.run.n).fill(NaN), new Float32Array(this.run.n).fill(NaN)];
    for (let k = 0; k < items.length; k++) {
      const [p, q] = [2 * (a * items.length + k), 2 * (b * items.length + k)];
      this.x[items[k]] = places[p] + t * (places[q] - places[p]);
      this.y[items[k]] = places[p + 1] + t * (places[q + 1] - places[p + 1]);
    }
  }

  /** @param {import("./chart.js").BackgroundOf | null} background */
  #then(background) {
    if (this.plane.then === background) return;
    this.plane.then = background;
    this.plane.coarse = null;
  }

  /** Colours and visibility of all points, again. */
  recolour() {
    this.#names = null;
    const { run, theme } = this;
    const numbers = run.coloursOf(this.colouring);
    if (numbers) {
      const sorted = Float32Array.from(numbers).sort();
      const [least, most] = [0.02, 0.98].map((q) => sorted[Math.floor(q * (sorted.length - 1))]);
      for (let i = 0; i < run.n; i++)
        this.colours[i] = packed(scaleColour(0.15 + (0.85 * (numbers[i] - least)) / (most - least || 1), theme));
    } else {
      const palette = run.classes.map((_, k) => packed(classColour(k, run.classes.length, theme)));
      const other = packed(run.classes.length ? classColour(-1, 2, theme) : rgbOf(theme.accent));
      for (let i = 0; i < run.n; i++) this.colours[i] = palette[run.labels[i]] ?? other;
    }
    for (let i = 0; i < run.n; i++) {
      const label = run.labels[i];
      this.shown[i] = this.hidden.has(label) ? 0 : this.bright !== null && this.bright !== label ? 1 : 2;
    }
    this.redraw();
  }

  redraw(what = BACK | POINTS | OVER | POINTER) {
    this.#dirty |= what;
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      const dirty = this.#dirty;
      this.#dirty = 0;
      this.#draw(dirty);
      if (dirty & BACK && this.layers.plane) this.plane.refine(this.view);
    });
  }

  /** Only marks. */
  remark() {
    this.redraw(OVER | POINTER);
  }

  /** Only where the pointer is. */
  repoint() {
    this.redraw(POINTER);
  }

  #moveCursor() {
    const { pointer } = this.marks;
    this.cursor.hidden = !pointer;
    if (!pointer) return;
    const [px, py] = this.view.toScreen(...pointer);
    this.cursor.style.transform = `translate(${px - CURSOR / 2}px, ${py - CURSOR / 2}px)`;
  }

  #drawCursor() {
    const { cursor, ratio, theme } = this;
    Object.assign(cursor, { width: CURSOR * ratio, height: CURSOR * ratio });
    const context = pen(cursor);
    context.scale(ratio, ratio);
    const view = Object.assign(new View(), { width: CURSOR, height: CURSOR });
    new Overlay(context, view, theme).cross([0, 0], theme.ink);
  }

  /** @param {number} what */
  #draw(what) {
    if (!this.#fitted) return;
    if (what & POINTER) this.#moveCursor();
    if (what & BACK) this.#drawBack(this.#clean(0));
    if (what & POINTS) this.#drawPoints(this.#clean(1));
    if (what & OVER) new Overlay(this.#clean(2), this.view, this.theme).marks(this.marks, this.x, this.y);
  }

  /** @param {number} k */
  #clean(k) {
    const context = pen(this.canvases[k]);
    const { ratio } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.view.width, this.view.height);
    return context;
  }

  /** @param {CanvasRenderingContext2D} context */
  #drawBack(context) {
    if (this.layers.plane && (!this.past || this.plane.then)) this.plane.draw(context, this.view, this.theme);
    if (this.layers.doubt && !this.past) this.#drawFog(context);
  }

  /** Fog where the map cannot be trusted. @param {CanvasRenderingContext2D} context */
  #drawFog(context) {
    const { view, chart, theme } = this;
    const field = chart.doubt;
    if (!field) return;
    this.#fog ??= fogOf(field, rgbOf(theme.fog));
    const [x0, y0, x1, y1] = field.box;
    const [left, top] = view.toScreen(x0, y1);
    const [right, low] = view.toScreen(x1, y0);
    context.fillStyle = css(rgbOf(theme.fog), 0.9);
    // Nothing is known beyond the box: four strips around it.
    const [l, t, r, b] = [left, top, right, low].map(Math.round);
    context.fillRect(0, 0, view.width, Math.max(0, t));
    context.fillRect(0, b, view.width, Math.max(0, view.height - b));
    context.fillRect(0, Math.max(0, t), Math.max(0, l), Math.min(view.height, b) - Math.max(0, t));
    context.fillRect(r, Math.max(0, t), Math.max(0, view.width - r), Math.min(view.height, b) - Math.max(0, t));
    context.imageSmoothingEnabled = true;
    context.drawImage(this.#fog, 0.5, 0.5, this.#fog.width - 1, this.#fog.height - 1, l, t, r - l, b - t);
  }

  /** How opaque thumbnails are: 0 where points are too close together. */
  #pictured() {
    if (!this.layers.pictures || !this.run.thumbnails || this.past) return 0;
    const { view } = this;
    const [x0, y0, x1, y1] = view.bounds();
    let count = 0;
    this.chart.index.within(x0, y0, x1, y1, (i) => (count += this.shown[i] > 0 ? 1 : 0));
    const spacing = Math.sqrt((view.width * view.height) / Math.max(1, count));
    return Math.min(1, Math.max(0, (spacing - 24) / 8));
  }

  /** @param {CanvasRenderingContext2D} context */
  #drawPoints(context) {
    const { view, run } = this;
    const canvas = this.canvases[1];
    const { ratio } = this;
    if (this.layers.points) {
      const kept = this.#image;
      const image =
        kept && kept.width === canvas.width && kept.height === canvas.height
          ? kept
          : context.createImageData(canvas.width, canvas.height);
      this.#image = image;
      const pixels = new Uint32Array(image.data.buffer);
      pixels.fill(0);
      const k = view.k * ratio;
      const [bx, by] = view.toScreen(0, 0).map((v) => v * ratio);
      drawPoints(
        pixels,
        canvas.width,
        canvas.height,
        { x: this.x, y: this.y, n: run.n, colours: this.colours, shown: this.shown },
        { ax: k, bx, ay: -k, by },
        radiusOf(run.n, view.k / view.whole) * ratio,
      );
      context.putImageData(image, 0, 0);
    }
    const alpha = this.#pictured();
    if (alpha > 0) this.#drawThumbnails(context, alpha);
    this.#drawLines(context); // not above, where everything is drawn again for each move of the pointer
  }

  /** @param {CanvasRenderingContext2D} context @param {number} alpha */
  #drawThumbnails(context, alpha) {
    const { view, run, theme } = this;
    const atlas = /** @type {NonNullable<Run["thumbnails"]>} */ (run.thumbnails);
    const [x0, y0, x1, y1] = view.bounds();
    const margin = PICTURE / view.k;
    /** @type {Map<number, {i: number, d: number}>} One for each cell of the plane, so that panning changes none. */
    const cells = new Map();
    const cell = CELL / 2 ** Math.floor(Math.log2(view.k));
    this.chart.index.within(x0 - margin, y0 - margin, x1 + margin, y1 + margin, (i) => {
      if (this.shown[i] < 2) return;
      const [c, r] = [Math.floor(this.x[i] / cell), Math.floor(this.y[i] / cell)];
      const d = Math.hypot(this.x[i] / cell - c - 0.5, this.y[i] / cell - r - 0.5);
      const key = r * 65536 + c;
      const other = cells.get(key);
      if (!other || d < other.d) cells.set(key, { i, d });
    });
    const scale = PICTURE / Math.max(atlas.width, atlas.height);
    const [w, t] = [atlas.width * scale, atlas.height * scale];
    context.globalAlpha = alpha;
    context.imageSmoothingEnabled = true;
    const grey = run.kind === "image" && run.shape[2] < 3;
    let drawn = 0;
    for (const { i } of cells.values()) {
      if (drawn++ >= MOST_PICTURES) break;
      const [px, py] = view.toScreen(this.x[i], this.y[i]);
      const colour = run.classes.length ? classColour(run.labels[i], run.classes.length, theme) : rgbOf(theme.accent);
      context.fillStyle = css(rgbOf(theme.paper), grey ? 0.86 : 1);
      context.beginPath();
      context.roundRect(px - w / 2 - 2, py - t / 2 - 2, w + 4, t + 4, grey ? 9 : 3);
      context.fill();
      if (grey) context.drawImage(inked(run, i, colour, this.plane.light), px - w / 2, py - t / 2, w, t);
      else {
        drawThumbnail(context, run, i, px - w / 2, py - t / 2, w, t);
        frame(context, colour, px - w / 2 - 1, py - t / 2 - 1, w + 2, t + 2);
      }
    }
    context.globalAlpha = 1;
  }

  /** @param {CanvasRenderingContext2D} context */
  #drawLines(context) {
    const overlay = new Overlay(context, this.view, this.theme);
    if (this.layers.doubt && !this.past)
      overlay.segments(this.chart.edge, css(rgbOf(this.theme.muted), 0.55), 1, [1, 4]);
    if (this.layers.density && !this.past) overlay.densities(this.chart);
    if (this.layers.names && this.colouring === "class") overlay.names(this.#middles(), this.run.classes.length);
  }

  /** The median place of each class on show. */
  #middles() {
    if (this.#names?.x === this.x && this.#tween === this.#names.tween) return this.#names.middles;
    const middles = this.#findMiddles();
    this.#names = { x: this.x, tween: this.#tween, middles };
    return middles;
  }

  #findMiddles() {
    const { run } = this;
    if (run.classes.length < 2 || run.classes.length > 40) return [];
    /** @type {number[][]} */
    const members = run.classes.map(() => []);
    const step = Math.max(1, Math.floor(run.n / 4000));
    for (let i = 0; i < run.n; i += step)
      if (run.labels[i] >= 0 && this.shown[i] > 1 && Number.isFinite(this.x[i])) members[run.labels[i]]?.push(i);
    const median = (/** @type {number[]} */ v) => v.sort((a, b) => a - b)[v.length >> 1];
    return members.flatMap((items, label) =>
      items.length < 3
        ? []
        : [
            {
              label,
              name: run.className(label),
              place: /** @type {[number, number]} */ ([
                median(items.map((i) => this.x[i])),
                median(items.map((i) => this.y[i])),
              ]),
            },
          ],
    );
  }

  /** The map as one picture, `scale` times as sharp as on screen. @param {number} scale @returns {HTMLCanvasElement} */
  picture(scale) {
    const { width, height } = this.view;
    const before = this.ratio;
    this.ratio = scale;
    for (const canvas of this.canvases) Object.assign(canvas, { width: width * scale, height: height * scale });
    this.#draw(BACK | POINTS | OVER);
    const whole = canvasOf(width * scale, height * scale);
    const context = pen(whole);
    context.fillStyle = this.theme.paper;
    context.fillRect(0, 0, whole.width, whole.height);
    for (const canvas of this.canvases) context.drawImage(canvas, 0, 0);
    this.ratio = before;
    this.#resize();
    return whole;
  }
}

/** A small picture of the doubt, upright, to be drawn large and smooth. @param {import("./field.js").FieldOf} field @param {[number, number, number]} rgb */
function fogOf(field, rgb) {
  const { columns, rows, values } = field;
  const canvas = canvasOf(columns, rows);
  const image = new ImageData(columns, rows);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      // Nothing is known beyond the box: the fog rises towards its edge instead of ending in a line.
      const edge = Math.min(r, c, rows - 1 - r, columns - 1 - c) / Math.max(1, columns / 24);
      const dense = Math.max(values[r * columns + c], 1 - edge);
      image.data.set([...rgb, 230 * dense], 4 * ((rows - 1 - r) * columns + c));
    }
  }
  pen(canvas).putImageData(image, 0, 0);
  return canvas;
}
