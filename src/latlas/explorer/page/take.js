// What a person takes away: the view as a link, the map as a picture, codes, a few lines of Python.

import { h, button, save } from "./dom.js";
import { hashOf, stateOf } from "./hash.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app */
export function takeAway(app) {
  const said = h("span", { class: "muted", role: "status" });
  const text = h("textarea", { class: "copied", rows: 6, readonly: true, hidden: true, "aria-label": "To copy" });
  const copy = async (/** @type {string} */ what, /** @type {string} */ done) => {
    try {
      await navigator.clipboard.writeText(what);
      said.textContent = done;
    } catch {
      // in frames and where it is forbidden
      text.hidden = false;
      text.value = what;
      text.select();
      said.textContent = "Press Ctrl+C to copy.";
    }
  };
  const element = h(
    "details",
    { class: "take" },
    h("summary", { text: "Take away" }),
    h(
      "div",
      { class: "sheet" },
      button("Link to this view", () => {
        const hash = hashOf(stateOf(app));
        try {
          history.replaceState(null, "", hash);
          copy(location.href, "The link is copied.");
        } catch {
          // a frame has no address of its own
          copy(hash, "What follows the page's address is copied.");
        }
      }),
      button("Map as PNG", async () => save("map.png", await app.map.picture(4))),
      button("Codes as CSV", () => save("codes.csv", new Blob([codesOf(app)], { type: "text/csv" }))),
      button("Copy as Python", () => copy(python(app), "The lines are copied.")),
      said,
      text,
    ),
  );
  document.addEventListener("pointerdown", (event) => {
    if (!element.contains(/** @type {Node} */ (event.target))) element.open = false;
  });
  element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape") return;
    element.open = false;
    element.querySelector("summary")?.focus();
  });
  return element;
}

/** The items on show: row, name, class, place, code. @param {App} app */
function codesOf(app) {
  const { run, map } = app;
  const quoted = (/** @type {string} */ value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = [
    ["row", "name", "label", "x", "y", ...Array.from({ length: run.latent }, (_, k) => `z${k + 1}`)].join(","),
  ];
  for (let i = 0; i < run.n; i++) {
    if (!map.shown[i]) continue;
    lines.push(
      [
        run.rowOf(i),
        quoted(run.itemName(i)),
        run.labels[i] < 0 ? "" : quoted(run.className(run.labels[i])),
        run.chart.x[i],
        run.chart.y[i],
        ...run.code(i),
      ].join(","),
    );
  }
  return `${lines.join("\n")}\n`;
}

/** @param {App} app */
function python(app) {
  const { run } = app;
  const code = Array.from(app.current?.code ?? run.code(0), (v) => Number(v.toPrecision(7)));
  return [
    "import numpy as np",
    "import latlas",
    "",
    `run = ${JSON.stringify(run.data.path ?? run.name)}`,
    `z = np.array([[${code.join(", ")}]], dtype=np.float32)`,
    'item = latlas.decode(run, z, quiet=True).arrays["decoded"][0]',
    "",
  ].join("\n");
}
