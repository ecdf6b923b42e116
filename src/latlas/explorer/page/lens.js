// The two strongest directions of the codes around a point, and what lies along them.

import { fill, h } from "./dom.js";
import { rested } from "./latest.js";
import { nearestRows } from "./neighbours.js";
import { square } from "./dials.js";
import { percent } from "./words.js";

/** @typedef {import("./app.js").App} App */

const [ACROSS, AROUND] = [5, 80];

/** The two directions of most variance, by power iteration: unit vectors with their standard deviations, and their share of the variance.
 * @param {Float32Array} rows @param {number} D @param {number[]} members */
function localAxes(rows, D, members) {
  const mean = new Float64Array(D);
  for (const i of members) for (let k = 0; k < D; k++) mean[k] += rows[i * D + k] / members.length;
  const centred = members.map((i) => Float64Array.from({ length: D }, (_, k) => rows[i * D + k] - mean[k]));
  const total = centred.reduce((sum, row) => sum + row.reduce((s, v) => s + v * v, 0), 0) / members.length;
  /** @type {{direction: Float64Array, deviation: number}[]} */
  const axes = [];
  for (let a = 0; a < Math.min(2, D); a++) {
    let direction = Float64Array.from({ length: D }, (_, k) => Math.cos(1 + 2.1 * k + a)); // any start that is not orthogonal to it
    let variance = 0;
    for (let turn = 0; turn < 40; turn++) {
      for (const { direction: other } of axes) {
        const along = other.reduce((s, v, k) => s + v * direction[k], 0);
        direction = direction.map((v, k) => v - along * other[k]);
      }
      const next = new Float64Array(D);
      for (const row of centred) {
        const along = row.reduce((s, v, k) => s + v * direction[k], 0);
        for (let k = 0; k < D; k++) next[k] += (along * row[k]) / members.length;
      }
      const size = Math.hypot(...next);
      if (!(size > 1e-12)) break;
      variance = size;
      direction = next.map((v) => v / size);
    }
    axes.push({ direction, deviation: Math.sqrt(variance) });
  }
  const share = total > 0 ? axes.reduce((s, a) => s + a.deviation ** 2, 0) / total : 1;
  return { axes, share };
}

/** @param {App} app @param {number} side */
export function lens(app, side) {
  const run = app.runs[side];
  const canvas = h("canvas", { class: "lens", role: "img", "aria-label": "Five by five pictures around the code" });
  const words = h("p", { class: "fine" });
  const element = h(
    "details",
    { class: "lens-fold", open: run.latent > 1 },
    h("summary", { text: "Around here" }),
    canvas,
    words,
  );
  const show = rested(200, async () => {
    const now = app.now[side];
    if (
      !now ||
      !run.decoder?.decodes ||
      !element.isConnected ||
      app.tab !== "overview" ||
      !element.open ||
      run.latent < 2
    )
      return;
    const near = nearestRows(run.sample, run.latent, now.code, AROUND);
    const { axes, share } = localAxes(
      run.sample,
      run.latent,
      near.map(({ i }) => i),
    );
    if (axes.length < 2) return;
    const codes = new Float32Array(ACROSS * ACROSS * run.latent);
    for (let s = 0; s < ACROSS * ACROSS; s++) {
      const [u, v] = [(s % ACROSS) - 2, 2 - Math.floor(s / ACROSS)];
      for (let k = 0; k < run.latent; k++)
        codes[s * run.latent + k] =
          now.code[k] + u * axes[0].deviation * axes[0].direction[k] + v * axes[1].deviation * axes[1].direction[k];
    }
    const values = await run.decoder.decode(codes, ACROSS * ACROSS).catch(() => null);
    if (!values || now !== app.now[side]) return;
    square(canvas, run, values, ACROSS, app.theme);
    fill(
      words,
      `The two strongest directions of the ${near.length} nearest training codes, one standard deviation a step; they hold ${percent(share)} of the variance there.`,
    );
  });
  app.on("code", (about) => about.side === side && show(null));
  element.addEventListener("toggle", () => show(null));
  app.on("tab", () => show(null));
  return element;
}
