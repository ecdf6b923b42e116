// Walks between codes: several ways played in step, saved as GIF, as a strip, or as codes.

import { canvasOf, fill, h, button, pen, save, still, toggle } from "./dom.js";
import { gif } from "./gif.js";
import { row } from "./dials.js";
import { along, spherical, straight, trusted } from "./paths.js";
import { paint } from "./pictures.js";
import { latest } from "./latest.js";
import { far } from "./words.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {{name: string, code: (t: number) => Float32Array, canvas: HTMLCanvasElement, words: HTMLElement}} Way */

const [FRAMES, SECONDS] = [48, 5];
const COLOURS = ["#0072b2", "#d55e00", "#009e73"];

/** @param {import("./run.js").Run} run @param {number} item @returns {import("./app.js").Stop} */
const itemStop = (run, item) => ({ code: run.code(item), place: [run.chart.x[item], run.chart.y[item]], item });

export class Morph {
  /** @type {import("./app.js").Stop[]} */ stops = [];
  /** @type {[number, number][]} */ freehand = [];
  /** @type {Way[]} */ ways = [];
  /** How many stops at the end are an example, which the first own stop replaces. */
  example = 0;
  t = 0;
  playing = false;
  side = 0;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.picking = toggle("Pick on the map", false, (on) => this.#pickStops(on));
    this.drawing = toggle("Draw a path", false, (on) => this.#drawPath(on));
    this.list = h("div", { class: "stops" });
    this.views = h("div", { class: "ways" });
    this.scrub = h("input", {
      type: "range",
      role: "slider",
      min: 0,
      max: 1,
      step: 0.001,
      value: 0,
      "aria-label": "How far along",
      data: { latlas: "scrub" },
      on: { input: () => this.#goto(Number(this.scrub.value)) },
    });
    this.play = button("Play", () => this.toggle(), { class: "primary", data: { latlas: "play" } });
    this.tools = h(
      "div",
      { class: "morph-tools", hidden: true },
      h("div", { class: "row" }, this.play, this.scrub),
      h(
        "div",
        { class: "row" },
        button("GIF", () => this.saveGif()),
        button("PNG strip", () => this.saveStrip()),
        button("Codes as CSV", () => this.saveCodes()),
      ),
    );
    this.element = h(
      "div",
      { class: "morph" },
      h("p", {
        class: "hint",
        text: "Two codes or more, and the ways between them: straight, along the sphere, and where the data are.",
      }),
      h(
        "div",
        { class: "row" },
        button("Add what is shown", () => this.add()),
        this.picking,
        this.drawing,
        button("Clear", () => this.clear(), { class: "quiet" }),
      ),
      this.list,
      this.views,
      this.tools,
    );
    this.#show = latest(() => this.#paintAll());
    app.on("tab", () => {
      if (app.tab === "morph") return app.walk.length ? this.#again() : this.#exemplify();
      this.#stopTools();
      this.playing = false;
    });
    app.on("chart", () => this.clear());
    app.on("walk", ({ side, item }) => {
      this.clear();
      app.side = side;
      app.open("morph");
      this.example = 1; // where it starts is the person's choice
    });
  }

  #show;

  #stopTools() {
    for (const button of [this.picking, this.drawing]) button.setAttribute("aria-pressed", "false");
    if (this.app.onDrawn) this.app.draw("look", null);
    this.app.onPick = null;
  }

  /** A first walk, until the person chooses stops: from what is shown to an item well away from it. */
  #exemplify() {
    const { app } = this;
    const { run } = app;
    const now = this.#shown();
    if (this.stops.length || this.freehand.length || !now || !run.decoder) return;
    const away = Array.from({ length: Math.min(200, run.n) }, (_, k) => Math.floor((k * run.n) / Math.min(200, run.n)))
      .map((i) => ({ i, d: Math.hypot(run.chart.x[i] - now.place[0], run.chart.y[i] - now.place[1]) }))
      .sort((a, b) => a.d - b.d);
    const { i } = away[Math.floor(0.8 * away.length)];
    this.side = app.side;
    this.push(now);
    this.push(itemStop(run, i));
    this.example = 2;
    app.walk = [];
  }

  /** Stops that a link brought. */
  #again() {
    const { walk } = this.app;
    if (walk === this.stops || this.freehand.length) return;
    this.clear();
    this.side = this.app.side;
    walk.forEach((stop) => this.push(stop));
  }

  /** The code on show as a stop. @returns {import("./app.js").Stop | null} */
  #shown() {
    const { app } = this;
    const now = app.held[app.side] ?? app.current;
    return now && { code: now.code, place: now.place, item: now.from === "item" ? app.map.marks.selected : -1 };
  }

  /** @param {boolean} on */
  #pickStops(on) {
    this.#stopTools();
    this.picking.setAttribute("aria-pressed", String(on));
    if (on) this.app.reveal();
    this.app.onPick = on
      ? (side, x, y, item) => {
          const run = this.app.runs[side];
          this.side = side;
          this.push(item >= 0 ? itemStop(run, item) : { code: run.chart.codeAt(x, y), place: [x, y], item });
          return true;
        }
      : null;
  }

  /** @param {boolean} on */
  #drawPath(on) {
    this.#stopTools();
    this.drawing.setAttribute("aria-pressed", String(on));
    if (!on) return;
    this.app.draw("path", (side, places, done) => {
      if (places.length < 2) return;
      this.clear();
      this.side = side;
      this.freehand = [...places];
      this.app.maps[side].marks.paths = [{ places: this.freehand, colour: COLOURS[0] }];
      this.app.maps[side].remark();
      if (done) {
        this.#stopTools();
        this.plan();
        this.#start();
      }
    });
  }

  /** The code that is on show becomes a stop. */
  add() {
    const now = this.#shown();
    if (!now) return;
    this.side = this.app.side;
    this.push(now);
  }

  /** @param {import("./app.js").Stop} stop */
  push({ code, place, item }) {
    this.freehand = [];
    if (this.example) this.stops = this.stops.slice(0, -this.example);
    this.example = 0;
    this.stops.push({ code: Float32Array.from(code), place, item });
    this.app.walk = this.stops;
    this.plan();
  }

  clear() {
    this.playing = false;
    this.example = 0;
    this.stops = [];
    this.app.walk = [];
    this.freehand = [];
    this.app.maps.forEach((map) => {
      Object.assign(map.marks, { stops: [], paths: [], players: [] });
      map.remark();
    });
    this.plan();
  }

  /** The ways that there are between the stops. */
  plan() {
    const { app, side } = this;
    const run = app.runs[side];
    const map = app.maps[side];
    const way = (/** @type {string} */ name, /** @type {(t: number) => Float32Array} */ code) => ({
      name,
      code,
      canvas: h("canvas", { class: `picture ${run.kind}`, role: "img", "aria-label": name }),
      words: h("p", { class: "fine" }),
    });
    const piece = (/** @type {number} */ t) => {
      const at = Math.min(this.stops.length - 1.000001, t * (this.stops.length - 1));
      const i = Math.max(0, Math.floor(at));
      return { a: this.stops[i], b: this.stops[i + 1], s: at - i };
    };
    this.ways = [];
    if (this.freehand.length > 1) this.ways = [way("As drawn", (t) => run.chart.codeAt(...along(this.freehand, t)))];
    else if (this.stops.length > 1) {
      const routes = this.stops.slice(1).map((stop, i) => trusted(run.chart, this.stops[i].place, stop.place));
      this.ways = [
        way("Straight", (t) => {
          const { a, b, s } = piece(t);
          return straight(a.code, b.code, s);
        }),
        way("Along the sphere", (t) => {
          const { a, b, s } = piece(t);
          return spherical(a.code, b.code, s);
        }),
        way("Where the data are", (t) => {
          const { a, b, s } = piece(t);
          const route = routes[this.stops.indexOf(a)];
          // Ends meet the stops themselves, which may lie off the plane.
          const code = run.chart.codeAt(...along(route, s));
          const ends = [a, b].map((p) => {
            const on = run.chart.codeAt(...p.place);
            return p.code.map((v, k) => v - on[k]);
          });
          return code.map((v, k) => v + (1 - s) * ends[0][k] + s * ends[1][k]);
        }),
      ];
    }
    const places = (/** @type {Way} */ w) => Array.from({ length: 41 }, (_, i) => run.chart.place(w.code(i / 40)));
    Object.assign(map.marks, {
      stops: this.stops.map((s) => s.place),
      paths: this.freehand.length
        ? [{ places: this.freehand, colour: COLOURS[0] }]
        : this.ways.map((w, k) => ({ places: places(w), colour: COLOURS[k] })),
      players: [],
    });
    map.remark();
    fill(
      this.list,
      ...this.stops.map((_, k) =>
        button(
          `${k + 1} ✕`,
          () => {
            this.stops.splice(k, 1);
            this.plan();
          },
          { class: "quiet", "aria-label": `Remove stop ${k + 1}` },
        ),
      ),
    );
    fill(
      this.views,
      ...this.ways.map((w, k) =>
        h(
          "figure",
          {},
          w.canvas,
          h("figcaption", {}, h("span", { class: "dot", style: { background: COLOURS[k] } }), w.name),
          w.words,
        ),
      ),
    );
    this.tools.hidden = !this.ways.length;
    if (this.ways.length) this.#goto(this.t);
  }

  /** @param {number} t */
  #goto(t) {
    this.t = t;
    this.scrub.value = String(t);
    return this.#show(null);
  }

  async #paintAll() {
    const { app, side, ways, t } = this;
    const run = app.runs[side];
    if (!ways.length || !run.decoder?.decodes) return;
    const codes = new Float32Array(ways.length * run.latent);
    ways.forEach((w, k) => codes.set(w.code(t), k * run.latent));
    const values = await run.decoder.decode(codes, ways.length, true).catch(() => null);
    if (!values) return;
    ways.forEach((w, k) => {
      const code = codes.subarray(k * run.latent, (k + 1) * run.latent);
      paint(w.canvas, run, values.subarray(k * run.size, (k + 1) * run.size), app.theme);
      w.words.textContent = far(run.times(code));
    });
    app.maps[side].marks.players = ways.map((_, k) =>
      run.chart.place(codes.subarray(k * run.latent, (k + 1) * run.latent)),
    );
    app.maps[side].remark();
    app.now[side] = { code: codes.slice(0, run.latent), place: app.maps[side].marks.players[0], from: "morph" };
  }

  #start() {
    if (!still()) this.toggle();
  }

  toggle() {
    this.playing = !this.playing;
    this.play.textContent = this.playing ? "Pause" : "Play";
    if (!this.playing) return;
    if (this.t >= 1) this.t = 0;
    let last = performance.now();
    const step = async (/** @type {number} */ now) => {
      if (!this.playing || !this.ways.length) {
        this.playing = false;
        this.play.textContent = "Play";
        return;
      }
      const t = Math.min(1, this.t + (now - last) / (1000 * SECONDS));
      last = now;
      await this.#goto(t);
      if (t >= 1) this.playing = false;
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  /** All pictures of a way. @param {Way} way @param {number} count */
  async #frames(way, count) {
    const run = this.app.runs[this.side];
    const codes = new Float32Array(count * run.latent);
    for (let i = 0; i < count; i++) codes.set(way.code(i / (count - 1)), i * run.latent);
    return { codes, values: await /** @type {import("./contract").Decoder} */ (run.decoder).decode(codes, count) };
  }

  async saveGif() {
    const { app } = this;
    const run = app.runs[this.side];
    const all = await Promise.all(this.ways.map((w) => this.#frames(w, FRAMES)));
    const one = canvasOf(1, 1);
    /** @type {ImageData[]} */
    const frames = [];
    const scale = run.kind === "image" ? Math.max(1, Math.round(140 / run.shape[1])) : 1;
    for (let i = 0; i < FRAMES; i++) {
      paint(one, run, all[0].values.subarray(i * run.size, (i + 1) * run.size), app.theme);
      const [w, t] = [one.width * scale, one.height * scale];
      const whole = canvasOf(all.length * (w + 4) - 4, t);
      const context = pen(whole, true);
      context.imageSmoothingEnabled = false;
      context.fillStyle = run.kind === "image" ? "#ffffff" : app.theme.paper;
      context.fillRect(0, 0, whole.width, t);
      all.forEach(({ values }, k) => {
        paint(one, run, values.subarray(i * run.size, (i + 1) * run.size), app.theme);
        context.drawImage(one, k * (w + 4), 0, w, t);
      });
      frames.push(context.getImageData(0, 0, whole.width, t));
    }
    save("morph.gif", gif([...frames, ...frames.slice(1, -1).reverse()], 7));
  }

  async saveStrip() {
    const { app } = this;
    const run = app.runs[this.side];
    const rows = [];
    for (const way of this.ways) {
      const canvas = canvasOf(1, 1);
      row(canvas, run, (await this.#frames(way, 12)).values, 12, app.theme);
      rows.push(canvas);
    }
    const scale = run.kind === "image" ? 4 : 1;
    const whole = canvasOf(rows[0].width * scale, rows.length * (rows[0].height * scale + 8) - 8);
    const context = pen(whole);
    context.imageSmoothingEnabled = false;
    rows.forEach((r, k) => context.drawImage(r, 0, k * (r.height * scale + 8), r.width * scale, r.height * scale));
    whole.toBlob((blob) => blob && save("morph.png", blob), "image/png");
  }

  async saveCodes() {
    const D = this.app.runs[this.side].latent;
    const lines = [["way", "t", ...Array.from({ length: D }, (_, k) => `z${k + 1}`)].join(",")];
    for (const way of this.ways)
      for (let i = 0; i < FRAMES; i++)
        lines.push([way.name, (i / (FRAMES - 1)).toFixed(4), ...way.code(i / (FRAMES - 1))].join(","));
    save("morph.csv", new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
  }
}
