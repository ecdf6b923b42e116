// Finds items by row, file name or class.

import { fill, h } from "./dom.js";
import { thumbnailOf } from "./pictures.js";
import { counted } from "./words.js";

/** @typedef {import("./app.js").App} App */

const MOST = 8;

/** Items that a text means: the row itself first, then names that hold it and classes that are called so. @param {import("./run.js").Run} run @param {string} text */
export function found(run, text) {
  const asked = text.trim().toLowerCase();
  if (!asked) return [];
  const these = new Set();
  const row = /^(row\s*)?\d+$/.test(asked) ? Number(asked.replace(/\D/g, "")) : -1;
  if (row >= 0) for (let i = 0; i < run.n; i++) if (run.rowOf(i) === row) these.add(i);
  const label = run.classes.findIndex((name) => name.toLowerCase() === asked);
  for (let i = 0; i < run.n; i++) {
    if (run.data.items.names?.[i]?.toLowerCase().includes(asked) || (label >= 0 && run.labels[i] === label))
      these.add(i);
  }
  return [...these];
}

/** @param {App} app */
export function searchBox(app) {
  const list = h("ul", {
    class: "results",
    id: "latlas-results",
    role: "listbox",
    "aria-label": "Items found",
    hidden: true,
  });
  const input = h("input", {
    type: "search",
    placeholder: app.run.kind === "image" ? "Row, file or class" : "Row, name or class",
    "aria-label": "Search items",
    role: "combobox",
    "aria-expanded": "false",
    "aria-controls": "latlas-results",
    autocomplete: "off",
    on: {
      input: () => update(),
      keydown: (/** @type {KeyboardEvent} */ e) => key(e),
      blur: () => setTimeout(close, 180),
    },
  });
  let at = 0;
  /** @type {number[]} */
  let items = [];
  const close = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (/** @type {number} */ i) => {
    app.select(app.side, i);
    app.map.show(app.run.chart.x[i], app.run.chart.y[i], 3);
    app.open("item");
    close();
  };
  const draw = () => {
    const { run } = app;
    fill(
      list,
      ...items.slice(0, MOST).map((i, k) =>
        h(
          "li",
          {
            role: "option",
            id: `latlas-result-${k}`,
            "aria-selected": String(k === at),
            on: { pointerdown: () => choose(i) },
          },
          run.thumbnails ? thumbnailOf(run, i) : null,
          h("span", { text: run.itemName(i) }),
          h("small", { text: run.classes.length ? run.className(run.labels[i]) : "" }),
        ),
      ),
      !items.length &&
        h("li", {
          role: "option",
          "aria-selected": "false",
          class: "muted",
          text: `None of the ${counted(run.n, "test item")} on the map has that row, name or class.`,
        }),
      items.length > MOST &&
        h("li", {
          role: "option",
          "aria-selected": "false",
          "aria-disabled": "true",
          class: "muted",
          text: `and ${(items.length - MOST).toLocaleString("en")} more`,
        }),
    );
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    if (items.length) input.setAttribute("aria-activedescendant", `latlas-result-${at}`);
  };
  const update = () => {
    items = found(app.run, input.value);
    at = 0;
    if (input.value.trim()) draw();
    else close();
  };
  const key = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && items[at] !== undefined) choose(items[at]);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const shown = Math.min(MOST, items.length);
      at = (at + (event.key === "ArrowDown" ? 1 : -1) + shown) % Math.max(1, shown);
      if (items.length) draw();
      event.preventDefault();
    }
  };
  return { element: h("div", { class: "search" }, input, list), input };
}
