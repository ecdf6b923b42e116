// Two runs, linked by picture: what one decodes, the other encodes, and its pointer goes there.

import { toggle } from "./dom.js";
import { latest } from "./latest.js";

/** @typedef {import("./app.js").App} App */

/** Whether one run can read what the other writes. @param {App} app */
const linkable = ({ runs }) => runs.length === 2 && runs[0].shape.join() === runs[1].shape.join();

/** @param {App} app */
export function link(app) {
  if (!linkable(app)) return;
  app.runs.forEach((_, side) => {
    const other = 1 - side;
    const there = app.runs[other];
    const follow = latest(async (/** @type {Float32Array} */ values) => {
      if (!there.decoder?.encodes) return;
      const found = await there.decoder.encode(values, 1, true).catch(() => null);
      if (found && app.linked && app.side === side) app.glance(other, found.mean, "link");
    });
    app.on("decoded", ({ side: at, now, values }) => {
      if (at === side && app.linked && now.from !== "link") follow(values);
    });
  });
}

/** Switches the link; null without one. @param {App} app */
export function linkSwitch(app) {
  if (!linkable(app)) return null;
  const change = (/** @type {boolean} */ on) => {
    app.linked = on;
    for (const map of app.maps) {
      map.marks.linked = null;
      map.remark();
    }
  };
  return toggle("Follow by picture", app.linked, change, {
    title: "Where the pointer is on one map, its picture is encoded for the other",
  });
}
