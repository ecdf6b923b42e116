// Your own item: dropped, pasted, drawn or typed; encoded, placed, reconstructed, and told when it is unlike the data.

import { fill, h, button, pen } from "./dom.js";
import { fromPixels, ground, picturesIn, rowOf, usualGround, valuesOfPicture } from "./intake.js";
import { latest } from "./latest.js";
import { comparedOf, imageData, pictureOf } from "./pictures.js";
import { sides } from "./dials.js";
import { far, number, percent } from "./words.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./run.js").Run} Run */

const MOST_BYTES = 60e6;
const TRAIL = 16; // places where it was last: more of them cover the map

export class Yours {
  /** @type {Float32Array} */ values = new Float32Array();
  started = false;

  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.element = h("div", { class: "yours" });
    app.on("tab", () => {
      if (app.tab === "yours") return;
      for (const map of app.maps) map.marks.trail = [];
    });
    this.verdict = h("p", { class: "verdict", role: "status" });
    this.result = h("div", { class: "pair-of-pictures" });
    this.note = h("p", { class: "fine" });
    this.encode = latest(() => this.#encode());
    app.on("own", (given) => this.edit(given.side, given.item));
    app.on("tab", () => app.tab === "yours" && !this.started && this.build());
    app.on("ready", () => this.started && this.encode(null));
    this.#accept();
  }

  get run() {
    return this.app.run;
  }

  build() {
    this.started = true;
    const { run } = this;
    if (this.values.length !== run.size) this.values = this.#blank();
    const choose = this.app.runs.length > 1 ? sides(this.app, () => this.build()) : null;
    const [hint, first, ...rest] = run.kind === "image" ? this.#easel() : this.#form();
    this.verdict.classList.toggle("stays", run.kind !== "image"); // in sight while fields further down are typed in
    if (run.kind === "image") fill(this.element, choose, hint, first, this.verdict, ...rest, this.result, this.note);
    else fill(this.element, choose, hint, first, this.note, this.verdict, this.result, ...rest);
  }

  #blank() {
    const { run } = this;
    if (run.kind !== "image")
      return Float32Array.from({ length: run.size }, (_, k) => run.data.columns?.[k]?.mean ?? 0);
    return new Float32Array(run.size).fill(this.paper ?? 0);
  }

  /** Takes an item to be changed. @param {number} side @param {number} item */
  async edit(side, item) {
    this.app.side = side;
    const values = await this.app.runs[side].valuesOf(item);
    if (values) this.take(Float32Array.from(values), `From ${this.app.runs[side].itemName(item)}.`);
  }

  /** @param {Float32Array} values @param {string} note */
  take(values, note) {
    this.values = values;
    this.app.map.marks.trail = [];
    this.app.open("yours");
    this.build();
    this.note.textContent = note;
    this.#redraw();
    return this.encode(null);
  }

  /** Drops and pastes anywhere on the page. */
  #accept() {
    const root = document;
    root.addEventListener("dragover", (event) => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    });
    root.addEventListener("drop", (event) => {
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      this.file(picturesIn(event.dataTransfer)[0] ?? event.dataTransfer.files[0]);
    });
    root.addEventListener("paste", (event) => {
      const [file] = picturesIn(event.clipboardData);
      if (file) this.file(file);
    });
  }

  /** @param {File | undefined} file */
  async file(file) {
    if (!file) return;
    if (this.run.kind !== "image")
      return this.#refuse(
        `${file.name}: this model reads ${this.run.kind === "table" ? "rows of a table" : "vectors"}; type one instead.`,
      );
    if (file.size > MOST_BYTES) return this.#refuse(`${file.name} is larger than 60 MB.`);
    let picture;
    try {
      picture = await createImageBitmap(file);
    } catch {
      return this.#refuse(`${file.name} is no picture that this browser can read.`);
    }
    let values = valuesOfPicture(picture, this.run.shape);
    let note = `${file.name}, ${picture.width} × ${picture.height}, its middle reduced to ${this.run.shape[1]} × ${this.run.shape[0]}.`;
    const usual = await usualGround(this.run);
    if (this.run.shape[2] < 3 && Math.abs(ground(values, this.run.shape) - usual) > 0.5) {
      values = values.map((v) => 1 - v);
      note += " Its ground is as light as the data's is dark, or the other way round, so it was inverted.";
    }
    return this.take(values, note);
  }

  /** @param {string} words */
  #refuse(words) {
    this.app.open("yours");
    if (!this.started) this.build();
    this.verdict.textContent = words;
  }

  /** Brush and canvas. */
  #easel() {
    const { run } = this;
    const [height, width, channels] = run.shape;
    this.canvas = h("canvas", {
      class: "easel pixels",
      width,
      height,
      tabindex: "0",
      role: "img",
      "aria-label": "Your picture: draw on it",
      data: { latlas: "easel" },
    });
    const colour = h("input", {
      type: "color",
      value: "#ffffff",
      "aria-label": "Colour of the brush",
      hidden: channels < 3,
    });
    const size = h("input", {
      type: "range",
      role: "slider",
      min: 0.5,
      max: Math.max(4, width / 8),
      step: 0.25,
      value: Math.max(1, width / 22),
      "aria-label": "Size of the brush",
    });
    let rubber = false;
    const brush = () => (rubber ? (this.paper ?? 0) : channels < 3 ? 1 - Math.round(this.paper ?? 0) : colour.value);
    this.#listen(this.canvas, brush, () => Number(size.value));
    usualGround(run).then((value) => {
      if (this.paper !== undefined || Number.isNaN(value)) return;
      this.paper = value < 0.3 ? 0 : value > 0.7 ? 1 : value;
      if (this.values.every((v) => v === 0)) this.#clear();
    });
    const rub = button(
      "Rubber",
      () => {
        rubber = !rubber;
        rub.setAttribute("aria-pressed", String(rubber));
      },
      { "aria-pressed": "false" },
    );
    const file = h("input", {
      type: "file",
      accept: "image/*",
      class: "spoken",
      "aria-label": "A picture from your files",
      data: { latlas: "file" },
      on: { change: () => this.file(file.files?.[0]) },
    });
    requestAnimationFrame(() => this.#redraw());
    return [
      h("p", { class: "hint", text: "Draw here, drop or paste a picture anywhere, or edit an item." }),
      h("div", { class: "easel-frame" }, this.canvas),
      h(
        "div",
        { class: "row" },
        h("label", { class: "button" }, file, "Open a picture"),
        rub,
        button("Invert", () => this.#invert()),
        button("Clear", () => this.#clear(), { class: "quiet" }),
      ),
      h("div", { class: "row" }, h("label", { class: "chooser" }, h("span", { text: "Brush" }), size), colour),
    ];
  }

  /** @param {HTMLCanvasElement} canvas @param {() => number | string} brush @param {() => number} size */
  #listen(canvas, brush, size) {
    /** @type {{x: number, y: number} | null} */
    let last = null;
    const at = (/** @type {PointerEvent} */ event) => {
      const box = canvas.getBoundingClientRect();
      return {
        x: ((event.clientX - box.left) / box.width) * canvas.width,
        y: ((event.clientY - box.top) / box.height) * canvas.height,
      };
    };
    const stroke = (/** @type {PointerEvent} */ event) => {
      const here = at(event);
      const from = last ?? here;
      const context = pen(canvas, true);
      const colour = brush();
      const level = typeof colour === "number" ? Math.round(255 * colour) : 0;
      context.strokeStyle = typeof colour === "string" ? colour : `rgb(${level},${level},${level})`;
      context.lineWidth = 2 * size();
      context.lineCap = "round";
      context.beginPath();
      context.moveTo(from.x, from.y);
      context.lineTo(here.x + 0.01, here.y);
      context.stroke();
      last = here;
      this.values = fromPixels(context.getImageData(0, 0, canvas.width, canvas.height), this.run.shape[2]);
      this.encode(null);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = null;
      stroke(event);
    });
    canvas.addEventListener("pointermove", (event) => last && stroke(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));
  }

  #redraw() {
    if (this.canvas && this.run.kind === "image")
      pen(this.canvas, true).putImageData(imageData(this.values, this.run.shape), 0, 0);
  }

  #invert() {
    this.values = this.values.map((v) => 1 - v);
    this.#redraw();
    this.encode(null);
  }

  #clear() {
    this.values = this.#blank();
    this.app.maps.forEach((map) => (map.marks.trail = []));
    this.note.textContent = "";
    this.#redraw();
    this.encode(null);
  }

  /** A row to type. */
  #form() {
    const { run } = this;
    const columns =
      run.data.columns ??
      Array.from({ length: run.size }, (_, k) => ({ name: String(k), least: -1, most: 1, mean: 0 }));
    const fields = columns.map((column, k) =>
      h(
        "label",
        { class: "field" },
        h("span", { text: column.name, title: column.name }),
        h("input", {
          type: "number",
          step: "any",
          value: Number(this.values[k].toPrecision(5)),
          data: { latlas: "field" },
          on: {
            input: (/** @type {any} */ event) => {
              const value = event.target.valueAsNumber;
              event.target.setAttribute("aria-invalid", String(!Number.isFinite(value)));
              event.target.closest("label").classList.toggle("outside", value < column.least || value > column.most);
              if (!Number.isFinite(value)) return;
              this.values[k] = value;
              this.encode(null);
            },
          },
        }),
        h("small", { text: `${number(column.least)} to ${number(column.most)}` }),
      ),
    );
    const line = h("input", {
      type: "text",
      placeholder: "or paste a row: 5.1, 3.5, …",
      "aria-label": "A row, separated by commas or tabs",
      on: { change: () => this.#row(line.value) },
    });
    const held = this.app.maps[this.app.side].marks.selected;
    fields.forEach((field, k) =>
      field.classList.toggle("outside", this.values[k] < columns[k].least || this.values[k] > columns[k].most),
    );
    return [
      h("p", { class: "hint", text: "Type a row; the ranges are those of training." }),
      h("div", { class: "row" }, line, held >= 0 && button("From the item", () => this.edit(this.app.side, held))),
      h("div", { class: "fields" }, ...fields),
    ];
  }

  /** @param {string} text */
  #row(text) {
    const { numbers, words } = rowOf(text, this.run.size);
    if (numbers.length !== this.run.size) {
      const size = this.run.data.columns
        ? `: ${this.run.data.columns[0].name} to ${this.run.data.columns[this.run.size - 1].name}`
        : "";
      this.verdict.textContent = `A row of this model has ${this.run.size} numbers${size}; this one has ${numbers.length}.`;
      return;
    }
    this.take(Float32Array.from(numbers), words.length ? `Not read, as no number: ${words.join(", ")}.` : "");
  }

  async #encode() {
    const { app, run } = this;
    const side = app.side;
    if (!run.decoder?.encodes) {
      this.verdict.textContent =
        run.trouble || (run.decoder ? "This page has no encoder." : "The encoder is starting …");
      return;
    }
    try {
      const values = Float32Array.from(this.values);
      const { mean } = await run.decoder.encode(values, 1, true);
      const { marks } = app.maps[side];
      const place = run.chart.place(mean);
      marks.trail = [...marks.trail.slice(-TRAIL), place];
      marks.own = place;
      app.hold(side, mean, "own", place);
      marks.pinned = null;
      if (!run.decoder.decodes) return;
      const made = await run.decoder.decode(mean, 1, true);
      this.#judge(values, mean, made);
    } catch (error) {
      this.verdict.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  /** @param {Float32Array} values @param {Float32Array} code @param {Float32Array} made */
  #judge(values, code, made) {
    const { app, run } = this;
    const error = run.error(values, made);
    const worse = run.worseThan(error);
    const times = run.times(code);
    const unlike = worse > 0.98 || times > 3;
    fill(
      this.result,
      run.kind === "image"
        ? h("figure", {}, pictureOf(run, values, app.theme, "Yours"), h("figcaption", { text: "Yours" }))
        : null,
      h(
        "figure",
        {},
        run.kind === "image"
          ? pictureOf(run, made, app.theme, "Its reconstruction")
          : comparedOf(run, values, made, app.theme, "your values"),
        h("figcaption", { text: `Reconstruction · squared error ${number(error)}` }),
      ),
    );
    this.verdict.classList.toggle("warn", unlike);
    const rank = Number.isNaN(worse)
      ? ""
      : worse > 0.5
        ? ` It is reconstructed worse than ${percent(worse)} of test items.`
        : ` It is reconstructed better than ${percent(1 - worse)} of test items.`;
    const outside = (run.data.columns ?? [])
      .filter((c, k) => values[k] < c.least || values[k] > c.most)
      .map((c) => c.name);
    const range = outside.length
      ? ` Outside the training range: ${outside.slice(0, 4).join(", ")}${outside.length > 4 ? " …" : ""}.`
      : "";
    this.verdict.textContent = `${unlike ? "Unlike the data. " : ""}${far(times)}${rank}${range}`;
  }
}
