// A slider through the snapshots of training.

import { h, button, still } from "./dom.js";

/** @typedef {import("./app.js").App} App */

/** @param {App} app @param {number} side */
export function timeSlider(app, side) {
  const run = app.runs[side];
  const map = app.maps[side];
  const snapshots = run.chart.snapshots;
  if (!snapshots || snapshots.steps.length < 2) return null;
  const last = snapshots.steps.length;
  let playing = false;
  const words = h("output", { class: "muted", text: "the end of training" });
  const go = (/** @type {number} */ moment) => {
    slider.value = String(moment);
    const now = moment >= last - 1 + 0.999;
    map.at(now ? null : Math.min(last - 1, moment));
    const step = snapshots.steps[Math.min(last - 1, Math.round(moment))];
    const plane = map.plane.then
      ? ""
      : " · the plane of that time needs its weights: training.snapshot_weights=true keeps them";
    words.textContent = now ? "the end of training" : `step ${step.toLocaleString("en")}${plane}`;
    slider.setAttribute("aria-valuetext", now ? "the end of training" : `step ${step}`);
  };
  const slider = h("input", {
    type: "range",
    role: "slider",
    min: 0,
    max: last,
    step: 0.02,
    value: last,
    "aria-label": "Moment of training",
    data: { latlas: "time" },
    on: {
      input: () => {
        playing = false;
        go(Number(slider.value));
      },
    },
  });
  const play = button(
    "Play training",
    () => {
      playing = !playing;
      if (!playing) return;
      let at = Number(slider.value) >= last - 0.01 ? 0 : Number(slider.value);
      let before = performance.now();
      const step = (/** @type {number} */ now) => {
        if (!playing) return;
        at = still() ? Math.floor(at) + 1 : at + (now - before) / 450;
        before = now;
        go(Math.min(last, at));
        if (at >= last) playing = false;
        else if (still()) setTimeout(() => step(performance.now()), 700);
        else requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    },
    { class: "quiet" },
  );
  const element = h("div", { class: "time" }, play, slider, words);
  app.on("chart", (at) => {
    if (at === side) element.hidden = run.chart.snapshots !== snapshots;
  });
  return element;
}
