// Numbers of the run and what its diagnosis found; a finding points at what it is about.

import { dialPanel } from "./dials.js";
import { fill, h, button } from "./dom.js";
import { measured } from "./words.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./contract").FindingData} FindingData */

/** @param {App} app */
export function overview(app) {
  const element = h("div", { class: "overview" });
  const two = app.runs.length > 1;
  fill(
    element,
    two && compared(app.runs),
    ...app.runs.map((run, side) =>
      h("section", {}, two && h("h3", { text: run.name }), !two && numbers(run), findings(app, side)),
    ),
    dialPanel(app),
    ...app.runs.map(facts),
    keys(),
  );
  return element;
}

/** @param {import("./run.js").Run} run */
function numbers(run) {
  const all = run.data.numbers ?? [];
  return (
    all.length > 0 &&
    h(
      "dl",
      { class: "numbers" },
      ...all.map((n) =>
        h(
          "div",
          { title: n.note ?? "" },
          h("dt", { text: n.title }),
          h("dd", {}, h("b", { text: measured(n.value, n.error) }), h("span", { text: n.unit ? ` ${n.unit}` : "" })),
        ),
      ),
    )
  );
}

/** The numbers of all runs side by side. @param {import("./run.js").Run[]} runs */
function compared(runs) {
  const titles = [...new Set(runs.flatMap((run) => (run.data.numbers ?? []).map((n) => n.title)))];
  const cell = (/** @type {import("./run.js").Run} */ run, /** @type {string} */ title) => {
    const found = run.data.numbers?.find((n) => n.title === title);
    return h("td", {}, found ? h("b", { text: measured(found.value, found.error) }) : "–");
  };
  const unit = (/** @type {string} */ title) =>
    runs.map((run) => run.data.numbers?.find((n) => n.title === title)?.unit).find(Boolean) ?? "";
  return (
    titles.length > 0 &&
    h(
      "table",
      { class: "compared" },
      h("thead", {}, h("tr", {}, h("td"), ...runs.map((run) => h("th", { scope: "col", text: run.name })))),
      h(
        "tbody",
        {},
        ...titles.map((title) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, title, h("small", { text: unit(title) })),
            ...runs.map((run) => cell(run, title)),
          ),
        ),
      ),
    )
  );
}

/** @param {import("./run.js").Run} run */
function facts(run) {
  const all = run.data.facts ?? [];
  return (
    all.length > 0 &&
    h("dl", { class: "facts" }, ...all.map((f) => h("div", {}, h("dt", { text: f.title }), h("dd", { text: f.value }))))
  );
}

/** @param {App} app @param {number} side */
function findings(app, side) {
  const all = app.runs[side].data.findings;
  if (!all) return false;
  if (!all.length) return h("p", { class: "calm", text: "The diagnosis found nothing to mend." });
  return h(
    "div",
    { class: "findings" },
    h("h4", { text: "What the diagnosis found" }),
    ...all.map((f) => finding(app, side, f)),
  );
}

/** @param {App} app @param {number} side @param {FindingData} data */
function finding(app, side, data) {
  const rings = data.regions ?? [];
  const dims = data.dimensions ?? [];
  const map = app.maps[side];
  const show = () => {
    map.marks.rings = rings;
    const [first] = rings;
    if (rings.length === 1 && first) map.show(first.x, first.y, 2);
    map.remark();
  };
  return h(
    "details",
    { class: `finding ${data.level.replaceAll(" ", "-")}` },
    h("summary", {}, h("span", { class: "level", text: data.level }), h("span", { text: data.title })),
    h("p", { text: data.evidence }),
    h("p", { text: data.cause }),
    h("p", { class: "advice", text: data.advice }),
    h(
      "div",
      { class: "row" },
      rings.length > 0 && button(rings.length > 1 ? `Show the ${rings.length} places` : "Show where", show),
      dims.length > 0 &&
        button(dims.length > 1 ? `Show the ${dims.length} dimensions` : `Show dimension ${dims[0] + 1}`, () => {
          app.side = side;
          app.open("overview");
          app.tell("tab", { dimensions: dims });
        }),
    ),
  );
}

function keys() {
  const all = [
    ["Move", "decode what is under the pointer"],
    ["Click", "a point: its item · elsewhere: hold that code"],
    ["Drag, wheel, pinch", "move and enlarge the map"],
    ["Arrows, Enter, + − 0", "the same by keys, with the map in focus"],
    ["/", "search"],
    ["D P B N", "doubt, pictures, plane, names"],
    ["Esc", "let go"],
  ];
  return h(
    "details",
    { class: "keys" },
    h("summary", { text: "Mouse, touch and keys" }),
    h("dl", {}, ...all.map(([key, does]) => h("div", {}, h("dt", { text: key }), h("dd", { text: does })))),
  );
}
