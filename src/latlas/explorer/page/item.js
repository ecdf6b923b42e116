// One test item: itself, its reconstruction, its code, its numbers, its neighbours.

import { classColour, css } from "./colours.js";
import { fill, h, button } from "./dom.js";
import { comparedOf, pictureOf, thumbnailOf } from "./pictures.js";
import { number } from "./words.js";

/** @typedef {import("./app.js").App} App */

const TITLES = { elbo: "ELBO", distortion: "distortion", rate: "rate", squared_error: "squared error" };
const UNITS = { elbo: "nats", distortion: "nats", rate: "nats", squared_error: "per value" };
const [NEIGHBOURS, DIMENSIONS] = [6, 24];

/** @param {App} app */
export function itemPanel(app) {
  const element = h(
    "div",
    { class: "item-panel" },
    h("p", { class: "hint", text: "Press a point on the map, or search for a row or a file." }),
  );
  let asked = 0;
  app.on("item", async (chosen) => {
    if (!chosen) return;
    const turn = ++asked;
    const { side, item } = chosen;
    const shown = await panel(app, side, item);
    if (turn !== asked) return;
    const focused = element.contains(document.activeElement)
      ? document.activeElement?.getAttribute("aria-label")
      : null;
    fill(element, ...shown);
    const again = [...element.querySelectorAll("button")].find(
      (b) => focused && b.getAttribute("aria-label") === focused,
    );
    (again ?? (focused ? element.querySelector("button") : null))?.focus(); // whoever steps through items by keys stays there
  });
  return element;
}

/** @param {App} app @param {number} side @param {number} item */
async function panel(app, side, item) {
  const run = app.runs[side];
  const values = await run.valuesOf(item).catch(() => null);
  const label = run.classes.length ? run.className(run.labels[item]) : "";
  const step = (/** @type {number} */ by) => () => app.select(side, (item + by + run.n) % run.n);
  const pictures = h("div", { class: "pair-of-pictures" });
  const own = values ? pictureOf(run, values, app.theme, "The item") : run.thumbnails ? thumbnailOf(run, item) : null;
  const made = run.decoder?.decodes ? await run.decoder.decode(run.code(item), 1, true).catch(() => null) : null;
  if (values && made && run.kind !== "image") {
    const words = `Marks: the item · dots: its reconstruction, squared error ${number(run.error(values, made))}`;
    const both = comparedOf(run, values, made, app.theme, "the item");
    pictures.append(h("figure", {}, both, h("figcaption", { text: words })));
  } else {
    if (own) pictures.append(h("figure", {}, own, h("figcaption", { text: "Item" })));
    if (made)
      pictures.append(
        h(
          "figure",
          {},
          pictureOf(run, made, app.theme, "Its reconstruction"),
          h("figcaption", {
            text: values ? `Reconstruction · squared error ${number(run.error(values, made))}` : "Reconstruction",
          }),
        ),
      );
  }
  return [
    h(
      "header",
      { class: "row" },
      h("h3", { text: run.itemName(item) }),
      label &&
        h(
          "span",
          { class: "tag" },
          h("span", {
            class: "dot",
            style: { background: css(classColour(run.labels[item], run.classes.length, app.theme)) },
          }),
          label,
        ),
      h("span", { class: "spring" }),
      button("‹", step(-1), { "aria-label": "Item before", class: "quiet" }),
      button("›", step(1), { "aria-label": "Next item", class: "quiet" }),
    ),
    app.runs.length > 1 ? h("p", { class: "fine", text: run.name }) : null,
    pictures,
    itemNumbers(run, item),
    codeBars(app, side, item),
    neighbours(app, side, item),
    h(
      "div",
      { class: "row" },
      button("Edit it", () => app.tell("own", { side, item })),
      button("Walk from here", () => app.tell("walk", { side, item })),
    ),
  ];
}

/** @param {import("./run.js").Run} run @param {number} item */
function itemNumbers(run, item) {
  const rows = Object.entries(run.numbers).map(([name, all]) =>
    h(
      "div",
      {},
      h("dt", { text: /** @type {any} */ (TITLES)[name] }),
      h("dd", {}, h("b", { text: number(all[item]) }), ` ${/** @type {any} */ (UNITS)[name]}`),
    ),
  );
  return rows.length ? h("dl", { class: "numbers small" }, ...rows) : null;
}

/** The code with its standard deviations, and the KL of each dimension. @param {App} app @param {number} side @param {number} item */
function codeBars(app, side, item) {
  const run = app.runs[side];
  const D = run.latent;
  const kl = run.kl?.subarray(item * D, (item + 1) * D);
  const order = Array.from({ length: D }, (_, k) => k)
    .sort((a, b) => (kl ? kl[b] - kl[a] : 0))
    .slice(0, DIMENSIONS);
  const most = Math.max(1e-6, ...(kl ?? []));
  const rows = order.map((k) => {
    const deviation = run.deviations?.[item * D + k];
    return h(
      "tr",
      {},
      h("th", { scope: "row", text: `z${k + 1}` }),
      h("td", { text: number(run.codes[item * D + k]) }),
      run.deviations && h("td", { text: `± ${number(deviation ?? NaN, 2)}` }),
      kl &&
        h(
          "td",
          { class: "bar" },
          h("i", { style: { width: `${(70 * kl[k]) / most}px` } }),
          h("span", { text: number(kl[k], 2) }),
        ),
    );
  });
  return h(
    "details",
    { class: "code", open: D <= 12 },
    h("summary", { text: `Its code${kl ? " and KL per dimension, in nats" : ""}` }),
    h(
      "table",
      {},
      h(
        "thead",
        { class: "spoken" },
        h(
          "tr",
          {},
          ...["Dimension", "Mean", run.deviations && "Standard deviation", kl && "KL"]
            .filter(Boolean)
            .map((t) => h("th", { scope: "col", text: /** @type {string} */ (t) })),
        ),
      ),
      h("tbody", {}, ...rows),
    ),
    D > DIMENSIONS && h("p", { class: "fine", text: `The ${DIMENSIONS} of ${D} dimensions with the largest KL.` }),
  );
}

/** @param {App} app @param {number} side @param {number} item */
function neighbours(app, side, item) {
  const run = app.runs[side];
  const strip = (/** @type {string} */ title, /** @type {{i: number, d: number}[]} */ near) =>
    near.length > 0 &&
    h(
      "div",
      { class: "strip-of-items" },
      h("h4", { text: title }),
      h(
        "div",
        { class: "near" },
        ...near.map(({ i, d }) => {
          const words = [
            run.itemName(i),
            run.classes.length ? run.className(run.labels[i]) : "",
            `distance ${number(d)}`,
          ]
            .filter(Boolean)
            .join(", ");
          const style = run.classes.length
            ? { borderColor: css(classColour(run.labels[i], run.classes.length, app.theme)) }
            : {};
          return h(
            "button",
            {
              type: "button",
              class: "item",
              title: words,
              "aria-label": words,
              style,
              on: { click: () => app.select(side, i) },
            },
            run.thumbnails ? thumbnailOf(run, i) : run.itemName(i),
          );
        }),
      ),
    );
  return h(
    "div",
    {},
    strip("Nearest in latent space", run.nearestItems(run.code(item), NEIGHBOURS, item)),
    strip(run.kind === "image" ? "Nearest in pixels" : "Nearest in values", run.nearestInValues(item, NEIGHBOURS)),
  );
}
