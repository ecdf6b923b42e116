// What the person looks at: codes held and pointed at, the selected item, the layers. Parts of the page listen to it.

import { narrow } from "./dom.js";
import { doubtOfDistance } from "./doubt.js";
import { MapOfRun } from "./map.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./colours.js").Theme} Theme */
/** @typedef {"pointer" | "pin" | "item" | "dial" | "own" | "link" | "morph" | "group" | "start" | "past"} From */
/** @typedef {{code: Float32Array, place: [number, number], from: From}} Now */
/** A stop of a morph, and which item's code it is, or -1. @typedef {{code: Float32Array, place: [number, number], item: number}} Stop */
/** @typedef {"code" | "item" | "layers" | "theme" | "view" | "filter" | "filled" | "ready" | "chart" | "decoded" | "tab" | "own" | "walk" | "tool" | "moment"} Event */

export class App {
  /** @type {Map<Event, ((what: any) => void)[]>} */ #listeners = new Map();
  /** @type {MapOfRun[]} */ maps = [];
  /** What is shown of each run. @type {(Now | null)[]} */ now = [];
  /** What it goes back to when the pointer leaves. @type {(Now | null)[]} */ held = [];
  /** The run that was touched last. */
  side = 0;
  tab = "overview";
  /** @type {Stop[]} Where a morph goes, as the person chose */ walk = [];
  /** Whether the other run's pointer follows by picture. */
  linked = true;
  /** @type {(() => boolean) | null} What a drawn line is for */ tool = null;
  /** @type {((side: number, places: [number, number][], done: boolean) => void) | null} */ onDrawn = null;
  /** @type {((side: number, x: number, y: number, item: number) => boolean) | null} Takes a press on the map */ onPick =
    null;
  /** @type {(key: string) => boolean} */ onKey = () => false;

  /** @param {Run[]} runs @param {import("./contract").Data} data @param {Theme} theme @param {import("./map.js").Layers} layers */
  constructor(runs, data, theme, layers) {
    this.runs = runs;
    this.data = data;
    this.theme = theme;
    this.layers = layers;
    this.now = runs.map(() => null);
    this.held = runs.map(() => null);
    this.maps = runs.map(
      (run, side) =>
        new MapOfRun(run, theme, layers, {
          point: (x, y) => this.point(side, x, y),
          leave: () => this.leave(side),
          pick: (x, y, item) => this.pick(side, x, y, item),
          drawn: (places, done) => this.onDrawn?.(side, places, done),
          key: (key) => this.onKey(key),
          moved: () => this.tell("view", side),
        }),
    );
    // Runs with the same classes are filtered together.
    for (const map of this.maps)
      if (map.run.classes.join("\n") === runs[0].classes.join("\n")) map.hidden = this.maps[0].hidden;
  }

  /** @param {Event} event @param {(what: any) => void} listen */
  on(event, listen) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listen]);
  }

  /** @param {Event} event @param {any} [what] */
  tell(event, what) {
    for (const listen of this.#listeners.get(event) ?? []) listen(what);
  }

  get run() {
    return this.runs[this.side];
  }

  get map() {
    return this.maps[this.side];
  }

  /** The code on show of the run that was touched last. @returns {Now | null} */
  get current() {
    return this.now[this.side];
  }

  /** @param {number} side @param {number} x @param {number} y */
  point(side, x, y) {
    this.side = side;
    const from = this.maps[side].past ? "past" : "pointer";
    this.#show(side, { code: this.runs[side].chart.codeAt(x, y), place: [x, y], from });
  }

  /** Shows an item near the middle, so that there is a picture before anything is touched. @param {number} side */
  start(side) {
    const { view, chart } = this.maps[side];
    const [near] = chart.index.nearest(view.x, view.y, 1);
    if (!this.now[side] && near)
      this.#show(side, {
        code: Float32Array.from(this.runs[side].code(near.i)),
        place: [chart.x[near.i], chart.y[near.i]],
        from: "start",
      });
  }

  /** @param {number} side */
  leave(side) {
    const { marks } = this.maps[side];
    marks.pointer = null;
    this.maps.forEach((map) => (map.marks.linked = null));
    const held = this.held[side];
    if (held) this.#show(side, held);
    this.maps.forEach((map) => map.remark());
  }

  /** @param {number} side @param {number} x @param {number} y @param {number} item */
  pick(side, x, y, item) {
    this.side = side;
    if (this.onPick?.(side, x, y, item)) return;
    if (item >= 0) this.select(side, item);
    else if (!this.maps[side].past) this.hold(side, this.runs[side].chart.codeAt(x, y), "pin", [x, y]);
  }

  /** Keeps a code on show. @param {number} side @param {Float32Array} code @param {From} from @param {[number, number]} [place] */
  hold(side, code, from, place) {
    const now = { code: Float32Array.from(code), place: place ?? this.runs[side].chart.place(code), from };
    this.side = side;
    this.held[side] = now;
    const { marks } = this.maps[side];
    marks.pinned = now.place;
    marks.pointer = null;
    if (from !== "item") {
      marks.selected = -1;
      this.tell("item", null);
    }
    this.#show(side, now);
  }

  /** @param {number} side @param {number} item */
  select(side, item) {
    const run = this.runs[side];
    this.hold(side, run.code(item), "item", [run.chart.x[item], run.chart.y[item]]);
    this.maps[side].marks.selected = item;
    this.maps[side].marks.pinned = null;
    this.runs.forEach((_, other) => {
      if (other === side) return;
      // The same item in the other run, if they have the same ones.
      const same = this.data.same_items && item < this.runs[other].n;
      this.maps[other].marks.selected = same ? item : -1;
      this.maps[other].remark();
    });
    this.tell("item", { side, item });
  }

  /** Shows a code in passing. @param {number} side @param {Float32Array} code @param {From} from */
  glance(side, code, from) {
    this.#show(side, { code, place: this.runs[side].chart.place(code), from });
  }

  /** @param {number} side @param {Now} now */
  #show(side, now) {
    this.now[side] = now;
    const { marks } = this.maps[side];
    const under = now.from === "pointer" || now.from === "past";
    if (under) marks.pointer = now.place;
    const linked = now.from === "link" ? now.place : null;
    if (under && !marks.linked) this.maps[side].repoint();
    else this.maps[side].remark();
    marks.linked = linked;
    this.tell("code", { side, now });
  }

  /** How little a code on show can be trusted, 0 to 1. @param {number} side @param {Now} now @param {number} times its distance to the data */
  doubt(side, now, times) {
    if (now.from === "pointer" || now.from === "pin") return this.runs[side].chart.doubtAt(...now.place);
    return doubtOfDistance(times);
  }

  /** @param {Partial<import("./map.js").Layers>} layers */
  setLayers(layers) {
    Object.assign(this.layers, layers);
    this.maps.forEach((map) => map.redraw());
    this.tell("layers");
  }

  /** The classes on show have changed. */
  filter() {
    this.maps.forEach((map, side) => {
      map.recolour();
      this.tell("filter", side);
    });
  }

  /** @param {Theme} theme */
  dress(theme) {
    this.theme = theme;
    this.maps.forEach((map) => map.dress(theme));
    this.tell("theme");
  }

  /** @param {string} tab */
  open(tab) {
    this.tab = tab;
    this.tell("tab");
  }

  /** Brings the map into sight that is to be pressed or drawn on: on a phone it lies above the panels. */
  reveal() {
    if (narrow()) this.map.element.scrollIntoView({ block: "center" });
  }

  /** Dragging on maps draws: for `tool` until `end`. @param {"lasso" | "path" | "look"} tool
   * @param {typeof this.onDrawn} drawn */
  draw(tool, drawn) {
    if (tool !== "look") this.reveal();
    this.maps.forEach((map) => {
      map.tool = tool;
      map.element.dataset.tool = tool;
    });
    this.onDrawn = drawn;
    this.tell("tool");
  }
}
