// Beside the map: classes that filter, what the colours say, layers, and which projection this is.

import { classChips } from "./chips.js";
import { fill, h, toggle } from "./dom.js";
import { shadesOf } from "./plane.js";
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
  const layers = /** @type {Record<string, boolean>} */ (app.layers);
  const switches = Object.entries(LAYER_NAMES).map(([name, title]) => {
    const words = /** @type {any} */ (LAYER_WORDS)[name];
    const change = (/** @type {boolean} */ on) => app.setLayers({ [name]: on });
    return { name, element: toggle(title, layers[name], change, { title: words, data: { layer: name } }) };
  });
  const update = () => {
    for (const { name, element } of switches) {
      element.hidden = !possible(app, name);
      element.setAttribute("aria-pressed", String(layers[name]));
    }
  };
  update();
  app.on("filled", update);
  app.on("layers", update);
  return h(
    "div",
    { class: "layers", role: "group", "aria-label": "Layers of the map" },
    ...switches.map((s) => s.element),
  );
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
  const chips = classChips(app, side);
  const colouring = chooser(
    "Colour",
    () => [...Object.entries(COLOURINGS).filter(([key]) => key === "class" || run.coloursOf(key)), ...columnsOf(run)],
    () => map.colouring,
    (key) => {
      map.colouring = key;
      map.recolour();
      chips.update();
    },
  );
  app.on("filled", colouring.update);
  const choices = [
    colouring.element,
    run.kind === "image" ? null : planeChooser(app, side),
    projectionChooser(app, side),
  ];
  return h("div", { class: "legend" }, chips.element, h("div", { class: "choices" }, ...choices), contours(app, side));
}

/** What the lines of the density are, while they are shown. @param {App} app @param {number} side */
function contours(app, side) {
  const element = h("p", { class: "muted fine" });
  const say = () => {
    const { prior, posterior } = app.runs[side].chart;
    const shares = (/** @type {{mass: number}[]} */ lines) => lines.map(({ mass }) => percent(mass)).join(" and ");
    const about = [
      posterior.length && `Solid lines hold ${shares(posterior)} of the codes`,
      prior.length && `dashed ones ${shares(prior)} of the prior`,
    ].filter(Boolean);
    element.textContent = about.join(", ");
    element.hidden = !app.layers.density || !about.length;
  };
  say();
  for (const event of /** @type {const} */ (["layers", "filled", "chart"])) app.on(event, say);
  return element;
}

/** Which column the plane shows, and what its shades mean. @param {App} app @param {number} side */
function planeChooser(app, side) {
  const columns = app.runs[side].data.columns ?? [];
  const shown = () => app.maps[side].plane.column;
  const shades = h("span", { class: "muted" });
  const say = () => {
    const span = shadesOf(app.runs[side], shown());
    const [least, most] = app.theme.dark ? ["dark", "light"] : ["light", "dark"];
    shades.textContent = span ? `${least} ${number(span.least)}, ${most} ${number(span.most)}` : "";
  };
  const choose = (/** @type {string} */ key) => {
    app.maps[side].plane.use(Number(key));
    say();
  };
  const names = () => columns.map((c, k) => [String(k), c.name]);
  say();
  app.on("theme", say);
  return h("span", { class: "pair" }, chooser("Plane", names, () => String(shown()), choose).element, shades);
}

/** A table's columns as colours. @param {import("./run.js").Run} run */
function columnsOf(run) {
  const columns = run.kind === "table" && run.values ? (run.data.columns ?? []) : [];
  return columns.map((c, k) => [`column:${k}`, c.name]);
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
  const only = h("b", { text: run.chart.data.title, hidden: !main.element.hidden });
  say();
  app.on("filled", () => {
    main.update();
    only.hidden = !main.element.hidden;
    say();
  });
  return h("span", { class: "projection" }, only, main.element, two, note);
}
