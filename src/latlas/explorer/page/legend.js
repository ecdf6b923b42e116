// Beside the map: classes that filter, what the colours say, layers, and which projection this is.

import { classColour, css, scaleColour } from "./colours.js";
import { fill, h, toggle, button } from "./dom.js";
import { number, percent } from "./words.js";

/** @typedef {import("./app.js").App} App */

const COLOURINGS = {
  class: "class",
  squared_error: "squared error",
  elbo: "ELBO",
  distortion: "distortion",
  rate: "rate",
};
const LAYER_NAMES = {
  points: "Points",
  pictures: "Pictures",
  plane: "Plane",
  doubt: "Doubt",
  density: "Density",
  names: "Names",
};
const LAYER_WORDS = {
  points: "Every test item",
  pictures: "Thumbnails, where there is room",
  plane: "What the model decodes, behind the points",
  doubt: "Fog where no data are, where re-encoding does not come back, or where the picture tears",
  density: "Contours: the prior dashed, where the codes lie solid",
  names: "Names of classes",
};

/** @param {App} app */
export function layerBar(app) {
  const element = h("div", { class: "layers", role: "group", "aria-label": "Layers of the map" });
  const make = () =>
    fill(
      element,
      ...Object.entries(LAYER_NAMES)
        .filter(([name]) => possible(app, name))
        .map(([name, title]) =>
          toggle(title, /** @type {any} */ (app.layers)[name], (on) => app.setLayers({ [name]: on }), {
            title: /** @type {any} */ (LAYER_WORDS)[name],
            data: { layer: name },
          }),
        ),
    );
  make();
  app.on("filled", make);
  app.on("layers", make);
  return element;
}

/** @param {App} app @param {string} name */
function possible(app, name) {
  if (name === "pictures") return app.runs.some((run) => run.data.items.thumbnails);
  if (name === "density") return app.runs.some((run) => run.chart.prior.length + run.chart.posterior.length);
  if (name === "doubt") return app.runs.some((run) => run.chart.doubt);
  if (name === "names") return app.runs.some((run) => run.classes.length > 1);
  return true;
}

/** @param {App} app @param {number} side */
export function legend(app, side) {
  const run = app.runs[side];
  const map = app.maps[side];
  const counts = run.classes.map((_, k) => run.labels.reduce((sum, label) => sum + (label === k ? 1 : 0), 0));
  const without = run.labels.reduce((sum, label) => sum + (label < 0 ? 1 : 0), 0);
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Classes" });
  const flip = (/** @type {number} */ label, /** @type {boolean} */ on) => {
    if (on) map.hidden.delete(label);
    else map.hidden.add(label);
    app.filter();
  };
  const chip = (/** @type {number} */ label, /** @type {string} */ name, /** @type {number} */ count) => {
    const colour = css(classColour(label, run.classes.length, app.theme));
    const element = toggle("", !map.hidden.has(label), (on) => flip(label, on), {
      class: "chip",
      title: `${name}: ${count}. Double-click shows it alone.`,
    });
    element.append(
      h("span", { class: "dot", style: { background: colour } }),
      h("span", { text: name }),
      h("small", { text: count.toLocaleString("en") }),
    );
    const shine = (/** @type {number | null} */ which) => () => {
      map.bright = which;
      map.recolour();
    };
    element.addEventListener("pointerenter", shine(label));
    element.addEventListener("pointerleave", shine(null));
    element.addEventListener("dblclick", () => {
      const all = run.classes.map((_, k) => k).concat(without ? [-1] : []);
      const alone = all.every((k) => k === label || map.hidden.has(k));
      map.hidden.clear();
      if (!alone) all.filter((k) => k !== label).forEach((k) => map.hidden.add(k));
      app.filter();
    });
    return element;
  };
  const draw = () => {
    if (map.colouring !== "class") return fill(chips, scaleLegend(app, side));
    if (!run.classes.length)
      return fill(chips, h("span", { class: "muted", text: `${run.n.toLocaleString("en")} test items` }));
    fill(
      chips,
      ...run.classes.map((name, k) => chip(k, name, counts[k])),
      without > 0 && chip(-1, "no label", without),
      map.hidden.size > 0 &&
        button(
          "Show all",
          () => {
            map.hidden.clear();
            app.filter();
          },
          { class: "quiet" },
        ),
    );
  };
  draw();
  app.on("theme", draw);
  app.on("filter", (at) => at === side && draw());
  const colouring = chooser(
    "Colour",
    () => [...Object.entries(COLOURINGS).filter(([key]) => key === "class" || run.coloursOf(key)), ...columnsOf(run)],
    () => map.colouring,
    (key) => {
      map.colouring = key;
      map.recolour();
      draw();
    },
  );
  const columns =
    run.kind === "image"
      ? null
      : chooser(
          "Plane",
          () => (run.data.columns ?? []).map((c, k) => [String(k), c.name]),
          () => String(map.plane.column),
          (key) => {
            map.plane.use(Number(key));
            span();
          },
        );
  const shade = h("span", { class: "muted" });
  const span = () => {
    const column = columns && run.data.columns?.[map.plane.column];
    const [least, most] = app.theme.dark ? ["dark", "light"] : ["light", "dark"];
    shade.textContent = column ? `${least} ${number(column.least)}, ${most} ${number(column.most)}` : "";
  };
  span();
  app.on("theme", span);
  app.on("filled", () => [colouring, columns].forEach((c) => c?.update()));
  return h(
    "div",
    { class: "legend" },
    chips,
    h("div", { class: "choices" }, colouring.element, columns?.element, shade, projectionChooser(app, side)),
  );
}

/** A table's columns as colours. @param {import("./run.js").Run} run */
function columnsOf(run) {
  const columns = run.kind === "table" && run.values ? (run.data.columns ?? []) : [];
  return columns.map((c, k) => [`column:${k}`, c.name]);
}

/** @param {App} app @param {number} side */
function scaleLegend(app, side) {
  const map = app.maps[side];
  const values = app.runs[side].coloursOf(map.colouring) ?? new Float32Array(1);
  const sorted = Float32Array.from(values).sort();
  const stops = [0, 0.25, 0.5, 0.75, 1].map((t) => css(scaleColour(0.15 + 0.85 * t, app.theme)));
  return h(
    "span",
    { class: "scale" },
    number(sorted[Math.floor(0.02 * sorted.length)]),
    h("i", { style: { background: `linear-gradient(to right, ${stops.join(",")})` } }),
    number(sorted[Math.floor(0.98 * (sorted.length - 1))]),
  );
}

/** A labelled select. @param {string} title @param {() => string[][]} options @param {() => string} value @param {(key: string) => void} choose */
export function chooser(title, options, value, choose) {
  const select = h("select", { "aria-label": title, on: { change: () => choose(select.value) } });
  const update = () => {
    const all = options();
    fill(select, ...all.map(([key, name]) => h("option", { value: key, text: name })));
    select.value = value();
    element.hidden = all.length < 2;
  };
  const element = h("label", { class: "chooser" }, h("span", { text: title }), select);
  update();
  return { element, update };
}

/** Which projection, what it costs, and others. @param {App} app @param {number} side */
function projectionChooser(app, side) {
  const run = app.runs[side];
  const map = app.maps[side];
  const note = h("span", { class: "muted note" });
  const say = () => {
    const { data } = run.chart;
    const trip = data.round_trip;
    note.textContent = [
      data.trustworthiness !== undefined && `trustworthiness ${number(data.trustworthiness)}`,
      trip &&
        `decoding from the place: error ${number(trip.error)}${trip.plain !== undefined ? ` (from the code ${number(trip.plain)})` : ""}`,
      trip?.class_agreement !== undefined && `class kept ${percent(trip.class_agreement)}`,
      data.note,
    ]
      .filter(Boolean)
      .join(" · ");
  };
  const swap = async (/** @type {import("./chart.js").Chart} */ chart) => {
    map.use(chart);
    const { marks } = map;
    Object.assign(marks, {
      pointer: null,
      linked: null,
      trail: [],
      paths: [],
      players: [],
      rings: [],
      own: null,
      stops: [],
    });
    const held = app.held[side];
    if (held) app.hold(side, held.code, held.from === "item" ? "pin" : held.from);
    say();
    app.tell("chart", side);
  };
  const dims = Array.from({ length: run.latent }, (_, k) => [String(k), String(k + 1)]);
  const axes = [0, Math.min(1, run.latent - 1)];
  const pick = async () => axes[0] !== axes[1] && swap(await run.alongAxes(axes[0], axes[1]));
  const pair = [0, 1].map((k) =>
    chooser(
      k ? "and" : "Dimension",
      () => dims,
      () => String(axes[k]),
      (key) => {
        axes[k] = Number(key);
        pick();
      },
    ),
  );
  const two = h("span", { class: "pair", hidden: true }, ...pair.map((p) => p.element));
  const main = chooser(
    "Map",
    () => [
      ...run.charts.map((c, k) => [String(k), c.data.title]),
      ...(run.latent > 2 ? [["axes", "two dimensions …"]] : []),
    ],
    () => String(Math.max(0, run.charts.indexOf(run.chart))),
    (key) => {
      two.hidden = key !== "axes";
      if (key === "axes") pick();
      else swap(run.charts[Number(key)]);
    },
  );
  say();
  app.on("filled", () => {
    main.update();
    say();
  });
  return h(
    "span",
    { class: "projection" },
    main.element.hidden ? h("b", { text: run.chart.data.title }) : null,
    main.element,
    two,
    note,
  );
}
