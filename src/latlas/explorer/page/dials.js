// A slider for each latent dimension, the active ones first, each with a strip of what it does.

import { canvasOf, fill, h, button, pen } from "./dom.js";
import { paced, rested } from "./latest.js";
import { lens } from "./lens.js";
import { imageData, paint } from "./pictures.js";
import { counted, number } from "./words.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./run.js").Run} Run */

const STEPS = 9; // pictures of a strip
const SHOWN = 8; // dials before "more"
const STRIP = [360, 44]; // pixels of a table's strip
const NAMED = 3; // columns of a table whose names are written below a strip

/** Dimensions by what they do, and those that do nothing. @param {Run} run */
function orderOf(run) {
  const weight = run.data.activity ?? run.data.rates ?? new Array(run.latent).fill(0);
  const collapsed = new Set(run.data.collapsed ?? []);
  const all = Array.from({ length: run.latent }, (_, k) => k).sort((a, b) => weight[b] - weight[a]);
  return { active: all.filter((k) => !collapsed.has(k)), collapsed: all.filter((k) => collapsed.has(k)) };
}

/** @param {App} app */
export function dialPanel(app) {
  const element = h("div", { class: "dials" });
  /** @type {Dial[]} */
  let dials = [];
  const strips = rested(140, () => app.tab === "overview" && dials.forEach((dial) => dial.strip(app.theme)));
  const build = () => {
    const { run, side } = app;
    dials = [];
    const make = (/** @type {number} */ k) => {
      const dial = new Dial(app, side, k);
      dials.push(dial);
      return dial.element;
    };
    const { active, collapsed } = orderOf(run);
    const head = h(
      "div",
      { class: "row" },
      app.runs.length > 1 ? sides(app, build) : null,
      button("Draw from the prior", () => app.hold(side, run.draw(), "dial"), {
        title: run.data.prior?.name ?? "standard normal",
      }),
      button("Zero", () => app.hold(side, new Float32Array(run.latent), "dial")),
    );
    fill(
      element,
      h("h4", { text: "Dials" }),
      head,
      h("div", { class: "dial-list" }, ...active.slice(0, SHOWN).map(make)),
      active.length > SHOWN &&
        folded(`${counted(active.length - SHOWN, "more dimension")}, less active`, active.slice(SHOWN), make, strips),
      collapsed.length > 0 &&
        folded(
          `${counted(collapsed.length, "collapsed dimension")}: the decoder does not use ${collapsed.length > 1 ? "them" : "it"}`,
          collapsed,
          make,
          strips,
        ),
      lens(app, side),
    );
    follow();
  };
  const follow = () => {
    const now = app.now[app.side];
    if (!now) return;
    dials.forEach((dial) => dial.set(now.code));
    strips(null);
  };
  const soon = paced(60, follow);
  let built = -1;
  const current = () => {
    if (app.tab !== "overview" || !app.run.spans.length) return;
    if (built !== app.side) {
      built = app.side;
      build();
    } else soon(null);
  };
  app.on("code", current);
  app.on("theme", () => strips(null));
  app.on("filled", current);
  app.on("ready", current);
  document.addEventListener("scroll", () => strips(null), { capture: true, passive: true }); // the panel's own does not bubble
  app.on("tab", (about) => {
    if (app.tab !== "overview") return;
    current();
    strips(null);
    if (about?.dimensions) dials.forEach((dial) => dial.point(about.dimensions.includes(dial.k)));
  });
  return element;
}

/** @param {string} title @param {number[]} these @param {(k: number) => HTMLElement} make @param {(x: any) => void} strips */
function folded(title, these, make, strips) {
  return h(
    "details",
    { on: { toggle: () => strips(null) } },
    h("summary", { text: title }),
    h("div", { class: "dial-list" }, ...these.map(make)),
  );
}

/** Which of two runs a panel is about. @param {App} app @param {() => void} again */
export function sides(app, again) {
  return h(
    "span",
    { class: "row", role: "group", "aria-label": "Run" },
    ...app.runs.map((run, side) =>
      button(
        run.name,
        () => {
          app.side = side;
          again();
        },
        { "aria-pressed": String(side === app.side), class: "quiet" },
      ),
    ),
  );
}

class Dial {
  /** What the strip shows already. @type {Float32Array | null} */ #drawn = null;
  /** @type {import("./colours.js").Theme | null} */ #theme = null;

  /** @param {App} app @param {number} side @param {number} k */
  constructor(app, side, k) {
    this.app = app;
    this.side = side;
    this.run = app.runs[side];
    this.k = k;
    const { least, most } = this.run.spans[k];
    this.value = h("output", { text: "0" });
    const { activity, rates } = this.run.data;
    const facts = [activity && `activity ${number(activity[k], 2)}`, rates && `${number(rates[k], 2)} nats`]
      .filter(Boolean)
      .join(" · ");
    this.input = h("input", {
      type: "range",
      role: "slider",
      min: least,
      max: most,
      step: (most - least) / 400,
      "aria-label": `Dimension ${k + 1}`,
      data: { latlas: "dial", dimension: String(k) },
      on: { input: () => this.#turned() },
    });
    const [width, height] = this.run.kind === "image" ? [STEPS * this.run.shape[1], this.run.shape[0]] : STRIP;
    this.picture = canvasOf(width, height); // the format that it will have: nothing below jumps when it is drawn
    this.picture.className = "strip";
    this.picture.setAttribute("aria-hidden", "true");
    this.moved = h("small", { class: "moved", hidden: this.run.kind !== "table" });
    this.element = h(
      "div",
      { class: "dial" },
      h("div", { class: "dial-head" }, h("b", { text: `z${k + 1}` }), h("small", { text: facts }), this.value),
      this.picture,
      this.moved,
      this.input,
    );
  }

  #turned() {
    const { app, side, k } = this;
    const code = Float32Array.from(app.now[side]?.code ?? new Float32Array(this.run.latent));
    code[k] = Number(this.input.value);
    app.hold(side, code, "dial");
  }

  /** @param {Float32Array} code */
  set(code) {
    if (document.activeElement !== this.input || Number(this.input.value) !== code[this.k])
      this.input.value = String(code[this.k]);
    this.value.textContent = number(code[this.k]);
    this.input.setAttribute("aria-valuetext", number(code[this.k]));
  }

  /** @param {boolean} on */
  point(on) {
    this.element.classList.toggle("pointed", on);
    if (!on) return;
    const fold = this.element.closest("details");
    if (fold) fold.open = true;
    this.element.scrollIntoView({ block: "nearest" });
  }

  /** What the dial does, the others held. @param {import("./colours.js").Theme} theme */
  async strip(theme) {
    const { run, app, side, k } = this;
    const now = app.now[side];
    const { top, bottom } = this.element.getBoundingClientRect();
    const drawn = this.#drawn === now?.code && this.#theme === theme;
    if (!now || drawn || !run.decoder?.decodes || !this.element.offsetParent || bottom < 0 || top > innerHeight) return;
    const { least, most } = run.spans[k];
    const codes = new Float32Array(STEPS * run.latent);
    for (let s = 0; s < STEPS; s++) {
      codes.set(now.code, s * run.latent);
      codes[s * run.latent + k] = least + ((s + 0.5) / STEPS) * (most - least);
    }
    const values = await run.decoder.decode(codes, STEPS).catch(() => null);
    if (!values || now !== app.now[side]) return;
    row(this.picture, run, values, STEPS, theme);
    this.moved.textContent = movedMost(run, values, STEPS);
    this.#drawn = now.code;
    this.#theme = theme;
  }
}

/** How far a column goes, from the first row to the last, in its training range. @param {Run} run @param {Float32Array} values
 * @param {number} count @param {number} c */
function changeOf(run, values, count, c) {
  const span = run.data.columns?.[c] ?? { least: 0, most: 1 };
  return (values[(count - 1) * run.size + c] - values[c]) / (span.most - span.least || 1);
}

/** The columns of a table that move most, in words. @param {Run} run @param {Float32Array} values @param {number} count */
function movedMost(run, values, count) {
  const changes = (run.data.columns ?? []).map(({ name }, c) => ({ name, by: changeOf(run, values, count, c) }));
  const most = changes.sort((a, b) => Math.abs(b.by) - Math.abs(a.by)).filter(({ by }) => Math.abs(by) > 0.05);
  return most
    .slice(0, NAMED)
    .map(({ name, by }) => `${name} ${by > 0 ? "↑" : "↓"}`)
    .join(" · ");
}

/** Pictures in a row. @param {HTMLCanvasElement} canvas @param {Run} run @param {Float32Array} values @param {number} count
 * @param {import("./colours.js").Theme} theme */
export function row(canvas, run, values, count, theme) {
  if (run.kind === "image") {
    const [height, width] = run.shape;
    canvas.width = count * width;
    canvas.height = height;
    for (let s = 0; s < count; s++)
      pen(canvas).putImageData(imageData(values.subarray(s * run.size, (s + 1) * run.size), run.shape), s * width, 0);
    return;
  }
  // Of tables: how each column moves, as one line each, over its training range.
  const [width, height] = STRIP;
  Object.assign(canvas, { width: 2 * width, height: 2 * height });
  const context = pen(canvas);
  context.scale(2, 2);
  context.lineWidth = 1.25;
  for (let c = 0; c < Math.min(run.size, 40); c++) {
    const span = run.data.columns?.[c] ?? { least: 0, most: 1 };
    const share = (/** @type {number} */ s) => (values[s * run.size + c] - span.least) / (span.most - span.least || 1);
    const change = Math.abs(changeOf(run, values, count, c));
    context.globalAlpha = Math.min(1, 0.12 + 1.2 * change);
    context.strokeStyle = change > 0.25 ? theme.accent : theme.muted;
    context.beginPath();
    for (let s = 0; s < count; s++)
      context.lineTo(((s + 0.5) / count) * width, height - 3 - (height - 6) * Math.min(1.1, Math.max(-0.1, share(s))));
    context.stroke();
  }
}

/** Pictures in a square. @param {HTMLCanvasElement} canvas @param {Run} run @param {Float32Array} values @param {number} side how many across
 * @param {import("./colours.js").Theme} theme */
export function square(canvas, run, values, side, theme) {
  const [height, width] = run.kind === "image" ? run.shape : [80, 80];
  canvas.width = side * (width + 1) - 1;
  canvas.height = side * (height + 1) - 1;
  const context = pen(canvas);
  const one = canvasOf(width, height);
  for (let s = 0; s < side * side; s++) {
    const these = values.subarray(s * run.size, (s + 1) * run.size);
    if (run.kind === "image")
      context.putImageData(imageData(these, run.shape), (s % side) * (width + 1), Math.floor(s / side) * (height + 1));
    else {
      paint(one, run, these, theme);
      context.drawImage(one, (s % side) * (width + 1), Math.floor(s / side) * (height + 1), width, height);
    }
  }
}
