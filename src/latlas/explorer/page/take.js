// What a person takes away: the view as a link, the map as a picture, codes, a few lines of Python.

import { canvasOf, h, button, pen, save } from "./dom.js";
import { hashOf, stateOf } from "./hash.js";

/** @typedef {import("./app.js").App} App */

const SCALE = 4; // of a picture to be printed

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
          const file = location.protocol === "file:";
          const others =
            " It opens this file on this device: others need the file, and after its address what follows #.";
          copy(location.href, `The link is copied.${file ? others : ""}`);
        } catch {
          // a frame has no address of its own
          copy(hash, "What follows the page's address is copied.");
        }
      }),
      button(app.runs.length > 1 ? "Maps as PNG" : "Map as PNG", () => savePicture(app)),
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

/** The maps at print size, those of two runs beside each other below their names. @param {App} app */
function savePicture(app) {
  const maps = app.maps.map((map) => map.picture(SCALE));
  const head = maps.length > 1 ? 40 * SCALE : 0;
  const gap = 12 * SCALE;
  const width = maps.reduce((sum, map) => sum + map.width + gap, -gap);
  const whole = canvasOf(width, head + Math.max(...maps.map((map) => map.height)));
  const context = pen(whole);
  Object.assign(context, { font: `600 ${18 * SCALE}px system-ui, sans-serif`, textBaseline: "middle" });
  context.fillStyle = app.theme.paper;
  context.fillRect(0, 0, whole.width, whole.height);
  context.fillStyle = app.theme.ink;
  let left = 0;
  maps.forEach((map, side) => {
    if (head) context.fillText(app.runs[side].name, left + gap, head / 2, map.width - 2 * gap);
    context.drawImage(map, left, head);
    left += map.width + gap;
  });
  whole.toBlob((blob) => blob && save("map.png", blob), "image/png");
}

/** The items on show: row, name, class, place, code. @param {App} app */
function codesOf(app) {
  const { run, map } = app;
  const quoted = (/** @type {string} */ value) => {
    const text = csvCell(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
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

/**
 * A text that a spreadsheet program would run as a formula, with an apostrophe before it; numbers are none.
 * @param {string} text
 */
function csvCell(text) {
  const risky = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text);
  return risky && !/^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/.test(text) ? `'${text}` : text;
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
