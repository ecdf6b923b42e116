// The view as text after the # of the address, and back.

/** @typedef {import("./app.js").App} App */

/** What can be looked at again. @param {App} app */
export function stateOf(app) {
  const { view, hidden, colouring } = app.map;
  const held = app.held[app.side];
  return {
    side: app.side,
    tab: app.tab,
    x: view.x,
    y: view.y,
    zoom: view.k / view.whole,
    item: app.map.marks.selected,
    code: held ? Array.from(held.code) : null,
    place: held ? held.place : null,
    hidden: [...hidden],
    colouring,
    layers: Object.entries(app.layers)
      .filter(([, on]) => on)
      .map(([name]) => name),
    projection: app.run.charts.indexOf(app.run.chart),
    walk: app.tab === "morph" ? app.walk : [],
  };
}

const LONGEST_WALK = 1500; // characters: programs cut longer links

/** The stops of a morph, items by "i" and their number, others by their code. @param {string} text @param {import("./run.js").Run} run
 * @returns {import("./app.js").Stop[]} */
function walkOf(text, run) {
  const { chart, latent, n } = run;
  return text.split("_").flatMap((word) => {
    const item = /^i\d+$/.test(word) ? Number(word.slice(1)) : -1;
    if (item >= 0) return item < n ? [{ code: run.code(item), place: [chart.x[item], chart.y[item]], item }] : [];
    const code = Float32Array.from(word.split(",").filter(Boolean), Number);
    return code.length === latent && code.every(Number.isFinite) ? [{ code, place: chart.place(code), item }] : [];
  });
}

const short = (/** @type {number} */ v) => Number(v.toPrecision(6));

/** @param {ReturnType<typeof stateOf>} state */
export function hashOf(state) {
  const words = new URLSearchParams();
  if (state.side > 0) words.set("run", String(state.side));
  words.set("tab", state.tab);
  words.set("at", [state.x, state.y, state.zoom].map(short).join(","));
  if (state.projection > 0) words.set("map", String(state.projection));
  if (state.item >= 0) words.set("item", String(state.item));
  else if (state.code && state.code.length <= 256) words.set("code", state.code.map(short).join(","));
  const stops = state.walk.map(({ item, code }) => (item >= 0 ? `i${item}` : Array.from(code, short).join(",")));
  if (stops.length > 1 && stops.join("_").length <= LONGEST_WALK) words.set("walk", stops.join("_"));
  if (state.hidden.length) words.set("without", state.hidden.join(","));
  if (state.colouring !== "class") words.set("colour", state.colouring);
  words.set("layers", state.layers.join(","));
  return `#${words.toString().replaceAll("%2C", ",")}`;
}

/** Looks as the address says; what makes no sense is left as it is. @param {App} app @param {string | ReturnType<typeof stateOf>} given */
export function restore(app, given) {
  const hash = typeof given === "string" ? given : hashOf(given);
  const words = new URLSearchParams(hash.replace(/^#/, ""));
  const numbers = (/** @type {string} */ name) =>
    (words.get(name) ?? "").split(",").filter(Boolean).map(Number).filter(Number.isFinite);
  const side = Number(words.get("run") ?? 0);
  if (app.runs[side]) app.side = side;
  const { run, map } = app;
  const chart = run.charts[Number(words.get("map") ?? 0)];
  if (chart && chart !== run.chart) {
    map.use(chart);
    app.tell("chart", app.side);
  }
  if (words.has("layers")) {
    const on = new Set((words.get("layers") ?? "").split(","));
    app.setLayers(/** @type {any} */ (Object.fromEntries(Object.keys(app.layers).map((name) => [name, on.has(name)]))));
  }
  const hidden = numbers("without").filter((label) => label >= -1 && label < run.classes.length);
  map.hidden.clear();
  hidden.forEach((label) => map.hidden.add(label));
  const colour = words.get("colour");
  if (colour && run.coloursOf(colour)) map.colouring = colour;
  app.filter();
  const [x, y, zoom] = numbers("at");
  if (zoom > 0) {
    Object.assign(map.view, { x, y, k: zoom * map.view.whole });
    map.moved();
  }
  const item = words.has("item") ? Number(words.get("item")) : -1;
  const code = numbers("code");
  if (Number.isInteger(item) && item >= 0 && item < run.n) app.select(app.side, item);
  else if (code.length === run.latent) app.hold(app.side, Float32Array.from(code), "pin");
  app.walk = walkOf(words.get("walk") ?? "", run);
  const tab = words.get("tab");
  if (tab) app.open(tab);
}
