// window.latlas: the page for scripts and tests.

import { restore, stateOf } from "./hash.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app @param {number} side */
function ofRun(app, side) {
  const run = app.runs[side];
  const model = () => {
    if (!run.decoder) throw new Error(run.trouble || "the model is not ready: await latlas.ready");
    return run.decoder;
  };
  const rows = (/** @type {ArrayLike<number>} */ given, /** @type {number} */ size, /** @type {string} */ what) => {
    const array = Float32Array.from(given);
    if (!array.length || array.length % size) throw new Error(`${what} have ${size} numbers each, not ${array.length}`);
    return array;
  };
  return {
    name: run.name,
    get points() {
      return { n: run.n, x: run.chart.x, y: run.chart.y, label: run.labels };
    },
    /** @param {ArrayLike<number>} code one, or several in one array */
    async decode(code) {
      const codes = rows(code, run.latent, "codes");
      return model().decode(codes, codes.length / run.latent, true);
    },
    /** @param {ArrayLike<number>} values */
    async encode(values) {
      const items = rows(values, run.size, "items");
      return model().encode(items, items.length / run.size, true);
    },
    /** @param {ArrayLike<number>} code */
    place(code) {
      const [x, y] = run.chart.place(rows(code, run.latent, "codes"));
      return Object.assign([x, y], { x, y });
    },
    /** What is on show: its code, its place, and where it is from. */
    get shown() {
      const now = app.now[side];
      return now && { code: Array.from(now.code), place: now.place, from: now.from };
    },
    codeAt: (/** @type {number} */ x, /** @type {number} */ y) => run.chart.codeAt(x, y),
    distance: (/** @type {ArrayLike<number>} */ code) => run.times(code),
    doubt: (/** @type {number} */ x, /** @type {number} */ y) => run.chart.doubtAt(x, y),
  };
}

/** The first run's by themselves, and each run's in `runs`. @param {App} app @param {Promise<void>} ready */
export function publish(app, ready) {
  const runs = app.runs.map((_, side) => ofRun(app, side));
  const api = Object.defineProperties(
    { ready, runs },
    {
      ...Object.getOwnPropertyDescriptors(runs[0]),
      state: { enumerable: true, get: () => stateOf(app), set: (hash) => restore(app, hash) },
    },
  );
  /** @type {any} */ (globalThis).latlas = api;
  return api;
}
