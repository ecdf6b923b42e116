// One chip for each class: what its colour is, and whether it is on show.

import { classColour, css, scaleColour } from "./colours.js";
import { button, fill, h } from "./dom.js";
import { number } from "./words.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app @param {number} side */
export function classChips(app, side) {
  const run = app.runs[side];
  const map = app.maps[side];
  const chips = [...run.classes.map((name, label) => ({ name, label })), { name: "no label", label: -1 }]
    .map(({ name, label }) => ({ name, label, count: run.labels.reduce((sum, l) => sum + (l === label ? 1 : 0), 0) }))
    .filter(({ label, count }) => run.classes.length > 0 && (label >= 0 || count > 0))
    .map((one) => chip(app, side, one));
  const all = button("Show all", () => only(app, side, null), { class: "quiet" });
  const plain = h("span", { class: "muted", text: `${run.n.toLocaleString("en")} test items` });
  const scale = h("span", { class: "scale" });
  const element = h("div", { class: "chips", role: "group", "aria-label": "Classes" });
  fill(element, ...chips.map((c) => c.element), all, plain, scale);
  const update = () => {
    const byClass = map.colouring === "class";
    // In place: a chip that is pressed keeps the focus.
    chips.forEach((c) => c.update(byClass));
    all.hidden = !byClass || !map.hidden.size;
    plain.hidden = !byClass || chips.length > 0;
    scale.hidden = byClass;
    if (!byClass) fill(scale, ...scaleOf(app, side));
  };
  update();
  app.on("theme", update);
  app.on("filter", (at) => at === side && update());
  return { element, update };
}

/** Shows one class alone, or all again. @param {App} app @param {number} side @param {number | null} label */
function only(app, side, label) {
  const { classes } = app.runs[side];
  const { hidden } = app.maps[side];
  hidden.clear();
  if (label !== null) for (let k = -1; k < classes.length; k++) if (k !== label) hidden.add(k);
  app.filter();
}

/** @param {App} app @param {number} side @param {{name: string, label: number, count: number}} about */
function chip(app, side, { name, label, count }) {
  const { classes } = app.runs[side];
  const map = app.maps[side];
  const press = () => {
    if (!map.hidden.delete(label)) map.hidden.add(label);
    app.filter();
  };
  const shine = (/** @type {number | null} */ which) => () => {
    map.bright = which;
    map.recolour();
  };
  const dot = h("span", { class: "dot" });
  const element = h(
    "button",
    {
      type: "button",
      class: "chip",
      title: `${name}: ${count}. Double-click shows it alone.`,
      on: {
        click: press,
        dblclick: () => only(app, side, map.hidden.size >= classes.length ? null : label),
        pointerenter: shine(label),
        pointerleave: shine(null),
      },
    },
    dot,
    h("span", { text: name }),
    h("small", { text: count.toLocaleString("en") }),
  );
  const update = (/** @type {boolean} */ shown) => {
    element.hidden = !shown;
    element.setAttribute("aria-pressed", String(!map.hidden.has(label)));
    dot.style.background = css(classColour(label, classes.length, app.theme));
  };
  return { element, update };
}

/** What the colours of numbers mean. @param {App} app @param {number} side */
function scaleOf(app, side) {
  const values = app.runs[side].coloursOf(app.maps[side].colouring) ?? new Float32Array(1);
  const sorted = Float32Array.from(values).sort();
  const stops = [0, 0.25, 0.5, 0.75, 1].map((t) => css(scaleColour(0.15 + 0.85 * t, app.theme)));
  return [
    number(sorted[Math.floor(0.02 * sorted.length)]),
    h("i", { style: { background: `linear-gradient(to right, ${stops.join(",")})` } }),
    number(sorted[Math.floor(0.98 * (sorted.length - 1))]),
  ];
}
