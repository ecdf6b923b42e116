// render(root, data): the explorer in an element; the one entry of the file, the live page and a notebook's frame.

import { publish } from "./api.js";
import { App } from "./app.js";
import { useToken } from "./blocks.js";
import { themeOf } from "./colours.js";
import { fill, h, toggle } from "./dom.js";
import { groupPanel } from "./groups.js";
import { restore } from "./hash.js";
import { usualGround } from "./intake.js";
import { itemPanel } from "./item.js";
import { rested } from "./latest.js";
import { layerBar, legend } from "./legend.js";
import { link, linkSwitch } from "./link.js";
import { Morph } from "./morph.js";
import { overview } from "./overview.js";
import { Preview } from "./preview.js";
import { Run } from "./run.js";
import { searchBox } from "./search.js";
import { tabs } from "./tabs.js";
import { takeAway } from "./take.js";
import { timeSlider } from "./time.js";
import { Yours } from "./yours.js";

/** @typedef {import("./contract").Data} Data */

const LAYERS = { points: true, pictures: true, plane: true, doubt: true, density: false, names: true };

/**
 * Shows the data in `root`; resolves when the first picture is there, `window.latlas.ready` when everything is.
 * @param {HTMLElement} root @param {Data} data @param {import("./contract").Options} [options]
 */
export async function render(root, data, options = {}) {
  if (data.format !== 1) throw new Error(`this page reads data of format 1, not ${data.format}`);
  if (data.token) useToken(data.token);
  root.classList.add("latlas");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  root.dataset.theme = dark.matches ? "dark" : "light";
  const runs = await Promise.all(data.runs.map((run, at) => Run.open(run, at)));
  const app = new App(runs, data, themeOf(root, dark.matches), { ...LAYERS });
  const dress = (/** @type {boolean} */ night) => {
    root.dataset.theme = night ? "dark" : "light";
    app.dress(themeOf(root, night));
  };
  dark.addEventListener("change", () => dress(dark.matches));
  build(root, app, dress);
  link(app);
  requestAnimationFrame(() => app.runs.forEach((_, side) => app.start(side)));
  const ready = finish(app, options);
  ready.catch(() => undefined); // said on the page
  publish(app, ready);
  return app;
}

/** What the first picture does not need. @param {App} app @param {import("./contract").Options} options */
async function finish(app, options) {
  const waking = app.runs.map((run, at) => run.wake(app.data.runtime, options.decoders?.[at]));
  await Promise.all(
    app.runs.map(async (run, at) => {
      await run.fill();
      if (run.kind === "image" && run.shape[2] < 3 && run.values) {
        app.maps[at].plane.light = (await usualGround(run)) > 0.5;
        app.maps[at].plane.repaint();
      }
    }),
  );
  app.tell("filled");
  app.runs.forEach((_, side) => app.start(side));
  app.maps.forEach((map) => map.redraw());
  await Promise.all(waking);
  app.tell("ready");
  if (location.hash.length > 1) restore(app, location.hash);
  app.maps.forEach((map) => map.redraw());
  const troubles = app.runs.map((run) => run.trouble).filter(Boolean);
  if (troubles.length) throw new Error(troubles.join("; "));
}

/** @param {HTMLElement} root @param {App} app @param {(dark: boolean) => void} dress */
function build(root, app, dress) {
  const search = searchBox(app);
  const night = toggle("Dark", root.dataset.theme === "dark", dress, { class: "quiet" });
  const spoken = h("p", { class: "spoken", role: "status", "aria-live": "polite" });
  const head = h(
    "header",
    { class: "head" },
    h("h1", {}, h("span", { class: "mark", text: "latlas" }), h("span", { class: "title", text: app.data.title })),
    search.element,
    layerBar(app),
    linkSwitch(app),
    takeAway(app),
    night,
  );
  const stage = h(
    "main",
    { class: "stage", data: { runs: String(app.runs.length) } },
    ...app.runs.map((run, side) =>
      h(
        "section",
        { class: "side", "aria-label": run.name },
        app.runs.length > 1 && h("h2", { text: run.name }),
        app.maps[side].element,
        legend(app, side),
        timeSlider(app, side),
      ),
    ),
  );
  const morph = new Morph(app);
  const yours = new Yours(app);
  const previews = app.runs.map((_, side) => new Preview(app, side));
  const panel = h(
    "aside",
    { class: "panel", "aria-label": "What is shown" },
    h("div", { class: "previews" }, ...previews.map((p) => p.element)),
    tabs(app, [
      ["overview", "Run", overview(app)],
      ["item", "Item", itemPanel(app)],
      ["morph", "Morph", morph.element],
      ["yours", "Yours", yours.element],
      ["groups", "Groups", groupPanel(app)],
    ]),
  );
  fill(root, head, stage, panel, spoken);
  const speak = rested(
    700,
    (/** @type {number} */ side) => (spoken.textContent = previews[side].canvas.getAttribute("aria-label")),
  );
  app.on("decoded", ({ side }) => speak(side));
  app.on("item", (chosen) => chosen && app.tab === "overview" && app.open("item"));
  keys(root, app, search.input);
}

/** @param {HTMLElement} root @param {App} app @param {HTMLInputElement} search */
function keys(root, app, search) {
  const layers = /** @type {Record<string, keyof typeof LAYERS>} */ ({
    d: "doubt",
    p: "pictures",
    b: "plane",
    n: "names",
    c: "density",
  });
  app.onKey = (key) => {
    const layer = layers[key.toLowerCase()];
    if (layer) app.setLayers({ [layer]: !app.layers[layer] });
    else if (key === "/") search.focus();
    else if (key === "[" || key === "]") {
      const now = Math.max(0, app.map.marks.selected);
      app.select(app.side, (now + (key === "]" ? 1 : -1) + app.run.n) % app.run.n);
    } else if (key === "Escape") letGo(app);
    else return false;
    return true;
  };
  root.addEventListener("keydown", (event) => {
    const typing = /** @type {Element} */ (event.target).matches("input, textarea, select, .map");
    if (!typing && !event.ctrlKey && !event.metaKey && !event.altKey && app.onKey(event.key)) event.preventDefault();
  });
}

/** @param {App} app */
function letGo(app) {
  app.draw("look", null);
  app.onPick = null;
  app.maps.forEach((map, side) => {
    app.held[side] = null;
    Object.assign(map.marks, {
      selected: -1,
      pinned: null,
      pointer: null,
      linked: null,
      rings: [],
      own: null,
      trail: [],
      lasso: [],
    });
    map.remark();
  });
  app.tell("item", null);
}

/** Shows the page's own data: in it (a file), or at the address that its root names (the live page). */
export async function boot() {
  const root = /** @type {HTMLElement} */ (document.getElementById("latlas"));
  /** @type {(value: any) => void} */
  let resolve = () => undefined;
  // There from the beginning, so that scripts can wait for it.
  /** @type {any} */ (globalThis).latlas = { ready: new Promise((go) => (resolve = go)) };
  try {
    const inside = document.getElementById("latlas-data");
    const data = inside
      ? JSON.parse(inside.textContent ?? "")
      : await (await fetch(root.dataset.address ?? "data.json")).json();
    if (inside) inside.textContent = "";
    await render(root, data);
    resolve(/** @type {any} */ (globalThis).latlas.ready);
  } catch (error) {
    fill(
      root,
      h("p", {
        class: "broken",
        role: "alert",
        text: `The page cannot be shown: ${error instanceof Error ? error.message : error}`,
      }),
    );
    resolve(Promise.reject(error));
    throw error;
  }
}
