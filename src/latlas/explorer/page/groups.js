// Axes of one's own: two groups drawn on the map, or a - b + c of three items.

import { fill, h, button } from "./dom.js";
import { latest } from "./latest.js";
import { paint } from "./pictures.js";
import { counted, far, number, percent } from "./words.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./run.js").Run} Run */

const COLOURS = ["#d55e00", "#0072b2"];
const NAMES = ["A", "B"];

/** The mean code of some items. @param {Run} run @param {number[]} items @returns {Float32Array} */
function meanCode(run, items) {
  const mean = new Float32Array(run.latent);
  for (const i of items) run.code(i).forEach((v, k) => (mean[k] += v / items.length));
  return mean;
}

/** The difference of two groups' means: its length with its standard error, and the share of items on their own side of its middle.
 * @param {Run} run @param {number[]} a @param {number[]} b */
function axisBetween(run, a, b) {
  const [from, to] = [meanCode(run, a), meanCode(run, b)];
  const direction = to.map((v, k) => v - from[k]);
  const length = Math.hypot(...direction);
  const unit = direction.map((v) => v / (length || 1));
  const along = (/** @type {number} */ i) => run.code(i).reduce((s, v, k) => s + (v - from[k]) * unit[k], 0);
  const [p, q] = [a.map(along), b.map(along)];
  const spread = (/** @type {number[]} */ v) => {
    const mean = v.reduce((s, x) => s + x, 0) / v.length;
    return v.reduce((s, x) => s + (x - mean) ** 2, 0) / Math.max(1, v.length - 1) / v.length;
  };
  const right = p.filter((v) => v < length / 2).length + q.filter((v) => v >= length / 2).length;
  return { from, direction, length, error: Math.sqrt(spread(p) + spread(q)), right: right / (a.length + b.length) };
}

/** Whether a point lies in a polygon. @param {[number, number][]} polygon @param {number} x @param {number} y */
export function inside(polygon, x, y) {
  let is = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [polygon[i], polygon[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) is = !is;
  }
  return is;
}

/** @param {App} app */
export function groupPanel(app) {
  const element = h("div", { class: "groups" });
  /** @type {number[][]} */
  let groups = [[], []];
  let side = 0;
  const axis = h("div", {});
  const stop = () => {
    app.draw("look", null);
    buttons.forEach((b) => b.setAttribute("aria-pressed", "false"));
  };
  const mark = () => {
    app.maps.forEach((map, k) => {
      map.marks.groups = k === side ? groups.map((items, g) => ({ items, colour: COLOURS[g] })) : [];
      map.marks.lasso = [];
      map.remark();
    });
  };
  const lasso = (/** @type {number} */ g) => {
    stop();
    buttons[g].setAttribute("aria-pressed", "true");
    app.draw("lasso", (at, places, done) => {
      const map = app.maps[at];
      if (at !== side) {
        side = at;
        groups = [[], []];
      }
      map.marks.lasso = [...places];
      map.remark();
      if (!done) return;
      const found = [];
      for (let i = 0; i < app.runs[at].n; i++)
        if (map.shown[i] > 0 && inside(places, map.x[i], map.y[i])) found.push(i);
      stop();
      set(g, found);
    });
  };
  const set = (/** @type {number} */ g, /** @type {number[]} */ items) => {
    groups[g] = items;
    mark();
    const run = app.runs[side];
    buttons.forEach(
      (b, k) =>
        (b.textContent = groups[k].length
          ? `Group ${NAMES[k]}: ${counted(groups[k].length, "item")}`
          : `Draw group ${NAMES[k]}`),
    );
    fill(
      axis,
      groups.every((items) => items.length > 0) ? axisDial(app, side, axisBetween(run, groups[0], groups[1])) : null,
    );
  };
  const buttons = NAMES.map((name, g) =>
    button(`Draw group ${name}`, () => lasso(g), { "aria-pressed": "false", data: { group: name } }),
  );
  const classes = app.run.classes;
  const byClass =
    classes.length > 1 &&
    h(
      "div",
      { class: "row" },
      ...NAMES.map((name, g) => {
        const select = h(
          "select",
          {
            "aria-label": `Class as group ${name}`,
            on: {
              change: () => {
                const label = Number(select.value);
                side = app.side;
                const run = app.runs[side];
                set(
                  g,
                  Array.from({ length: run.n }, (_, i) => i).filter((i) => run.labels[i] === label),
                );
              },
            },
          },
          h("option", { value: "-2", text: `${name}: a class …` }),
          ...classes.map((c, k) => h("option", { value: String(k), text: c })),
        );
        return select;
      }),
    );
  app.on("tab", () => app.tab !== "groups" && app.onDrawn && stop());
  app.on("chart", mark);
  fill(
    element,
    h("p", { class: "hint", text: "Draw around two groups: the difference of their means becomes a dial." }),
    h(
      "div",
      { class: "row" },
      ...buttons,
      button(
        "Clear",
        () => {
          set(0, []);
          set(1, []);
          stop();
        },
        { class: "quiet" },
      ),
    ),
    byClass,
    axis,
    arithmetic(app),
  );
  return element;
}

/** @param {App} app @param {number} side @param {ReturnType<typeof axisBetween>} axis */
function axisDial(app, side, axis) {
  const run = app.runs[side];
  const base = () => app.held[side]?.code ?? axis.from;
  let start = Float32Array.from(base());
  const input = h("input", {
    type: "range",
    role: "slider",
    min: -1.5,
    max: 1.5,
    step: 0.01,
    value: 0,
    "aria-label": "From group A to group B",
    data: { latlas: "dial", dimension: "own" },
    on: {
      input: () =>
        app.glance(
          side,
          start.map((v, k) => v + Number(input.value) * axis.direction[k]),
          "group",
        ),
    },
  });
  const from = (/** @type {Float32Array} */ code) => {
    start = Float32Array.from(code);
    input.value = "0";
    app.hold(side, start, "group");
  };
  return h(
    "div",
    { class: "dial" },
    h("div", { class: "dial-head" }, h("b", { text: "A → B" })),
    input,
    h("p", {
      class: "fine",
      text: `Length ${number(axis.length)} ± ${number(axis.error, 2)} (standard error). Halfway, it parts ${percent(axis.right)} of the items rightly.`,
    }),
    axis.length < 3 * axis.error &&
      h("p", { class: "verdict warn", text: "The groups hardly differ: this axis may be chance." }),
    h(
      "div",
      { class: "row" },
      button("Start at A's mean", () => from(axis.from)),
      button("Start at what is held", () => from(base())),
    ),
  );
}

/** a - b + c. @param {App} app */
function arithmetic(app) {
  /** @type {(Float32Array | null)[]} */
  const codes = [null, null, null];
  const signs = ["", "−", "+"];
  let side = 0;
  const words = h("p", { class: "fine" });
  const views = codes.map(() => h("canvas", { class: "picture small", role: "img", "aria-label": "nothing yet" }));
  const made = h("canvas", { class: "picture small", role: "img", "aria-label": "The result" });
  const show = latest(async () => {
    const run = app.runs[side];
    for (let k = 0; k < 3; k++) {
      const code = codes[k];
      if (code && run.decoder?.decodes) paint(views[k], run, await run.decoder.decode(code, 1, true), app.theme);
    }
    const [a, b, c] = codes;
    if (!a || !b || !c) return;
    const sum = a.map((v, k) => v - b[k] + c[k]);
    if (run.decoder?.decodes) paint(made, run, await run.decoder.decode(sum, 1, true), app.theme);
    words.textContent = far(run.times(sum));
    app.hold(side, sum, "group");
  });
  const slots = codes.map((_, k) =>
    h(
      "div",
      { class: "slot" },
      signs[k] && h("span", { class: "sign", text: signs[k] }),
      h(
        "div",
        {},
        views[k],
        button(
          `Set ${"abc"[k]}`,
          () => {
            const now = app.held[app.side];
            if (!now) return;
            if (side !== app.side) codes.fill(null);
            side = app.side;
            codes[k] = Float32Array.from(now.code);
            views[k].setAttribute("aria-label", `${"abc"[k]}, decoded`);
            show(null);
          },
          { class: "quiet" },
        ),
      ),
    ),
  );
  return h(
    "section",
    { class: "arithmetic" },
    h("h4", { text: "a − b + c" }),
    h("p", { class: "hint", text: "Hold a code or an item, then set it." }),
    h(
      "div",
      { class: "row" },
      ...slots,
      h("div", { class: "slot" }, h("span", { class: "sign", text: "=" }), h("div", {}, made)),
    ),
    words,
  );
}
