// A slider through the snapshots of training.

import { button, h, still } from "./dom.js";

/** @typedef {import("./app.js").App} App */

const END = "the end of training";

/** @param {App} app @param {number} side */
export function timeSlider(app, side) {
  const run = app.runs[side];
  const map = app.maps[side];
  if (!run.data.projections.some((each) => (each.snapshots?.steps.length ?? 0) > 1)) return null;
  const last = () => run.chart.snapshots?.steps.length ?? 0;
  let playing = false;
  const words = h("output", { class: "muted" });
  const about = h("p", { class: "fine" });
  const go = (/** @type {number} */ moment) => {
    const { snapshots } = run.chart;
    if (!snapshots) return;
    slider.value = String(moment);
    const now = moment > last() - 0.001;
    map.at(now ? null : Math.min(last() - 1, moment));
    const k = Math.min(last() - 1, Math.round(moment));
    words.textContent = now ? END : `step ${snapshots.steps[k].toLocaleString("en")}`;
    slider.setAttribute("aria-valuetext", now ? END : `step ${snapshots.steps[k]}`);
    about.textContent = now ? "" : said(snapshots, k);
    app.tell("moment", side);
  };
  const slider = h("input", {
    type: "range",
    role: "slider",
    min: 0,
    step: 0.02,
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
      let at = Number(slider.value) >= last() - 0.01 ? 0 : Number(slider.value);
      let before = performance.now();
      const step = (/** @type {number} */ now) => {
        if (!playing) return;
        at = still() ? Math.floor(at) + 1 : at + (now - before) / 450;
        before = now;
        go(Math.min(last(), at));
        if (at >= last()) playing = false;
        else if (still()) setTimeout(() => step(performance.now()), 700);
        else requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    },
    { class: "quiet" },
  );
  const element = h("div", { class: "time" }, play, slider, words, about);
  const begin = () => {
    playing = false;
    element.hidden = last() < 2;
    slider.max = String(last());
    go(last());
  };
  app.on("chart", (at) => at === side && begin());
  begin();
  return element;
}

/** What has to be said of a snapshot: which items have a place, how they got it, and what is missing.
 * @param {import("./moments.js").Moments} snapshots @param {number} k */
function said(snapshots, k) {
  const { data, n } = snapshots;
  const moved = data.places.shape?.[1] ?? n;
  return [
    moved < n && `${moved.toLocaleString("en")} of the ${n.toLocaleString("en")} items.`,
    data.note,
    !snapshots.decoded(k) && data.lacks,
    "Doubt and density are known of the end alone.",
  ]
    .filter(Boolean)
    .join(" ");
}
