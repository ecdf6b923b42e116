// Two runs, linked by picture: what one decodes, the other encodes, and its pointer goes there.

import { latest } from "./latest.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app */
export function link(app) {
  if (app.runs.length < 2) return;
  app.runs.forEach((run, side) => {
    const other = 1 - side;
    const there = app.runs[other];
    if (run.shape.join() !== there.shape.join()) return;
    const follow = latest(async (/** @type {{values: Float32Array, from: string}} */ { values }) => {
      if (!there.decoder?.encodes) return;
      const found = await there.decoder.encode(values, 1, true).catch(() => null);
      if (found && app.side === side) app.glance(other, found.mean, "link");
    });
    app.on("decoded", ({ side: at, now, values }) => {
      if (at === side && app.linked && now.from !== "link") follow({ values, from: now.from });
    });
  });
}
