// What is decoded where the pointer is, and how far it is to be believed.

import { classColour, css } from "./colours.js";
import { fill, h, pen } from "./dom.js";
import { latest, paced, rested } from "./latest.js";
import { described, drawThumbnail, paint, thumbnailOf } from "./pictures.js";
import { far, farLevel, number } from "./words.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./app.js").Now} Now */

const NEAREST = 6;
/** @type {Record<Now["from"], string>} */
const PLACES = {
  pointer: "Under the pointer",
  pin: "Held here",
  start: "In the middle of the map",
  item: "The item's code, decoded",
  dial: "Set by the dials",
  own: "Yours, reconstructed",
  link: "The other run's picture, encoded",
  morph: "On the way",
  group: "Made from codes",
  past: "Under the pointer, by the weights of the end of training",
};

/** A place in the list of nearest items. It is made once: new elements under a moving pointer cost more than the picture. */
class NearItem {
  #item = -1;

  /** @param {App} app @param {number} side */
  constructor(app, side) {
    this.app = app;
    this.run = app.runs[side];
    /** @type {HTMLCanvasElement | null} */ this.picture = null; // thumbnails come after the first picture
    this.button = h("button", { type: "button", class: "item", on: { click: () => app.select(side, this.#item) } });
    this.element = h("div", { role: "listitem", hidden: true }, this.button);
  }

  /** @param {{i: number, d: number} | undefined} near */
  show(near) {
    const { run, app, button } = this;
    this.element.hidden = !near;
    if (!near) return;
    const { i, d } = near;
    const words = [run.itemName(i), run.classes.length ? run.className(run.labels[i]) : "", `distance ${number(d)}`]
      .filter(Boolean)
      .join(", ");
    button.title = words;
    button.setAttribute("aria-label", words);
    if (run.classes.length) button.style.borderColor = css(classColour(run.labels[i], run.classes.length, app.theme));
    const known = i === this.#item && (this.picture || !run.thumbnails);
    this.#item = i;
    if (known) return;
    if (this.picture) drawThumbnail(pen(this.picture), run, i, 0, 0, this.picture.width, this.picture.height);
    else {
      this.picture = run.thumbnails && thumbnailOf(run, i);
      fill(button, this.picture ?? h("span", { text: run.itemName(i) }));
    }
  }
}

export class Preview {
  /** @type {Float32Array | null} */ values = null;

  /** @param {App} app @param {number} side */
  constructor(app, side) {
    this.app = app;
    this.side = side;
    this.run = app.runs[side];
    this.canvas = h("canvas", {
      class: `picture ${this.run.kind}`,
      role: "img",
      "aria-label": "Decoded picture",
      data: { latlas: "preview", run: String(side) },
    });
    this.place = h("p", { class: "place" });
    this.words = h("p", { class: "distance" });
    this.gauge = h("div", { class: "gauge", "aria-hidden": "true" }, h("i"));
    this.verdict = h("p", { class: "verdict" });
    this.back = h("p", { class: "fine", title: "σ is the usual length of a code's standard deviations" });
    this.near = h("div", { class: "near", role: "list", "aria-label": "Nearest items" });
    this.element = h(
      "section",
      {
        class: `preview ${this.run.kind}`,
        "aria-label": app.runs.length > 1 ? `Decoded by ${this.run.name}` : "Decoded here",
      },
      app.runs.length > 1 && h("h3", { text: this.run.name }),
      h(
        "div",
        { class: "shown" },
        h("div", { class: "plate" }, this.canvas),
        h("div", { class: "said" }, this.place, this.words, this.gauge, this.verdict, this.back),
      ),
      this.near,
    );
    this.#hint();
    const show = latest((/** @type {Now} */ now) => this.#show(now));
    this.slots = Array.from({ length: NEAREST }, () => new NearItem(app, side));
    this.near.append(...this.slots.map((slot) => slot.element));
    this.say = paced(75, (/** @type {[Now, number, number]} */ [now, times, doubt]) => this.#say(now, times, doubt));
    const check = rested(160, (/** @type {Now} */ now) => this.#comesBack(now));
    const begin = (/** @type {Now | null} */ now) => {
      if (!now) return;
      this.back.textContent = "";
      show(now);
      check(now);
    };
    app.on("code", ({ side: at, now }) => at === side && begin(now));
    const again = () => begin(app.now[side]);
    app.on("ready", again);
    app.on("layers", again);
    app.on("theme", again);
    app.on("moment", (at) => {
      const now = app.now[side];
      if (at !== side || now?.from !== "past") return;
      if (app.maps[side].past) again();
      else app.point(side, ...now.place);
    });
  }

  #hint() {
    this.words.textContent = "Move over the map: what the model decodes there appears here.";
    this.canvas.width = this.run.kind === "image" ? this.run.shape[1] : 340;
    this.canvas.height = this.run.kind === "image" ? this.run.shape[0] : 150;
  }

  /** @param {Now} now */
  async #show(now) {
    const { app, run } = this;
    if (now.from === "past" && this.#then(now)) return;
    const times = run.sample.length ? run.times(now.code) : NaN;
    const doubt = app.doubt(this.side, now, times);
    await this.#draw(now, doubt);
    this.say([now, times, doubt]);
  }

  /** The picture first; words about it take longer. @param {Now} now @param {number} doubt */
  async #draw(now, doubt) {
    const { app, run } = this;
    if (!run.decoder?.decodes) {
      const coarse = this.#coarse(now, run.chart.background);
      this.back.textContent =
        run.trouble ||
        (run.decoder
          ? "This page has no decoder."
          : `The decoder is starting …${coarse ? " Until then, the nearest picture made before." : ""}`);
      return;
    }
    try {
      const values = await run.decoder.decode(now.code, 1, true);
      if (!this.values) performance.mark("latlas-decoded");
      this.values = values;
      paint(this.canvas, run, values, app.theme, null, true);
      this.canvas.style.opacity = app.layers.doubt ? String(1 - 0.72 * doubt) : "1";
      app.tell("decoded", { side: this.side, now, values });
    } catch (error) {
      this.back.textContent = error instanceof Error ? error.message : String(error);
    }
  }

  #label() {
    const { values, run } = this;
    return ["Decoded", values && described(run, values), this.words.textContent, this.verdict.textContent]
      .filter(Boolean)
      .join(". ");
  }

  /** What was decoded here at the step that the map shows; false where that is not known. @param {Now} now */
  #then(now) {
    const map = this.app.maps[this.side];
    if (!this.#coarse(now, map.plane.then)) return false;
    this.values = null;
    this.canvas.style.opacity = "1";
    this.say.stop();
    this.place.textContent = `Under the pointer at step ${map.step?.toLocaleString("en")}`;
    this.words.textContent = "The plane’s nearest picture, by the weights of then.";
    this.gauge.dataset.level = "";
    /** @type {HTMLElement} */ (this.gauge.firstChild).style.width = "0";
    fill(this.verdict);
    this.slots.forEach((slot) => slot.show(undefined));
    this.canvas.setAttribute("aria-label", this.#label());
    return true;
  }

  /** The picture of a coarse plane that is nearest; false where there is none. @param {Now} now
   * @param {import("./chart.js").BackgroundOf | null} background */
  #coarse({ place: [x, y] }, background) {
    if (!background) return false;
    const {
      box: [x0, y0, x1, y1],
      columns,
      rows,
      atlas,
    } = background;
    const cell = (
      /** @type {number} */ v,
      /** @type {number} */ from,
      /** @type {number} */ to,
      /** @type {number} */ count,
    ) => Math.min(count - 1, Math.max(0, Math.floor(((v - from) / (to - from)) * count)));
    const k = cell(y, y0, y1, rows) * columns + cell(x, x0, x1, columns);
    Object.assign(this.canvas, { width: atlas.width, height: atlas.height });
    this.canvas.classList.toggle("pixels", Math.max(atlas.width, atlas.height) <= 96);
    pen(this.canvas).drawImage(
      atlas.image,
      (k % atlas.columns) * atlas.width,
      Math.floor(k / atlas.columns) * atlas.height,
      atlas.width,
      atlas.height,
      0,
      0,
      atlas.width,
      atlas.height,
    );
    performance.mark("latlas-preview");
    return true;
  }

  /** @param {Now} now @param {number} times @param {number} doubt */
  #say(now, times, doubt) {
    const { run, app } = this;
    const near = run.nearestItems(now.code, NEAREST);
    this.place.textContent = PLACES[now.from];
    this.words.textContent = far(times);
    this.gauge.dataset.level = farLevel(times);
    /** @type {HTMLElement} */ (this.gauge.firstChild).style.width =
      `${Math.round(100 * Math.min(1, Math.log2(1 + Math.min(Number.isFinite(times) ? times : 0, 15)) / 4))}%`;
    const vote = run.classOf(near);
    if (vote) {
      const dot = h("span", {
        class: "dot",
        style: { background: css(classColour(vote.label, run.classes.length, app.theme)) },
      });
      fill(
        this.verdict,
        dot,
        2 * vote.count > near.length
          ? `${run.className(vote.label)} – ${vote.count} of the ${near.length} nearest items`
          : `Mixed, ${vote.count} of the ${near.length} nearest items are ${run.className(vote.label)}`,
      );
    } else this.verdict.textContent = doubt > 0.6 ? "No data here: do not read much into this picture." : "";
    if (vote && doubt > 0.6) this.verdict.append(h("span", { class: "warn", text: " · no data here" }));
    this.slots.forEach((slot, k) => slot.show(near[k]));
    this.canvas.setAttribute("aria-label", this.#label());
  }

  /** Whether the model recognises what it made. @param {Now} now */
  async #comesBack(now) {
    const { run, app } = this;
    if (!run.decoder?.encodes || !run.decoder.decodes || now !== app.now[this.side] || now.from === "past") return;
    try {
      const { mean } = await run.decoder.encode(await run.decoder.decode(now.code, 1), 1);
      if (now !== app.now[this.side]) return;
      const [unit, words] = run.width > 0 ? [run.width, "σ"] : [run.typical, "× a test item's distance"];
      const moved = Math.hypot(...mean.map((v, k) => v - now.code[k])) / unit;
      const many = moved < 0.01 ? "under 0.01" : number(moved, 2);
      this.back.textContent = `Encoded again it ${moved < 1.5 ? "comes back" : "lands elsewhere"}, ${many} ${words} away.`;
    } catch {
      /* said above */
    }
  }
}
