// Lines, names and marks above the points.

import { classColour, css, mixed, rgbOf } from "./colours.js";

/** @typedef {import("./view.js").View} View */
/** @typedef {import("./colours.js").Theme} Theme */
/** @typedef {[number, number]} Place */

/**
 * @typedef {object} Marks
 * @property {Place | null} pointer
 * @property {Place | null} linked where the other run's pointer is on this map
 * @property {Place | null} pinned the code that is held
 * @property {number} selected an item, or -1
 * @property {Place | null} own the person's own item
 * @property {Place[]} trail where it has been
 * @property {Place[]} stops of a morph
 * @property {{places: Place[], colour: string}[]} paths
 * @property {Place[]} players where each path is now
 * @property {Place[]} lasso being drawn
 * @property {{items: number[], colour: string}[]} groups
 * @property {{x: number, y: number, radius: number}[]} rings what a finding is about
 */

/** @returns {Marks} */
export const noMarks = () => ({
  pointer: null,
  linked: null,
  pinned: null,
  selected: -1,
  own: null,
  trail: [],
  stops: [],
  paths: [],
  players: [],
  lasso: [],
  groups: [],
  rings: [],
});

export class Overlay {
  /** @param {CanvasRenderingContext2D} context @param {View} view @param {Theme} theme */
  constructor(context, view, theme) {
    this.context = context;
    this.view = view;
    this.theme = theme;
  }

  /** @param {Float32Array} lines @param {string} colour @param {number} width @param {number[]} [dash] */
  segments(lines, colour, width, dash = []) {
    const { context, view } = this;
    context.beginPath();
    for (let i = 0; i < lines.length; i += 4) {
      const [xa, ya] = view.toScreen(lines[i], lines[i + 1]);
      const [xb, yb] = view.toScreen(lines[i + 2], lines[i + 3]);
      context.moveTo(xa, ya);
      context.lineTo(xb, yb);
    }
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
  }

  /** Strokes what was traced, with a light rim, so that it is seen on anything. @param {string} colour @param {number} width */
  #rimmed(colour, width) {
    for (const [stroke, lineWidth] of /** @type {[string, number][]} */ ([
      [this.theme.paper, width + 3],
      [colour, width],
    ])) {
      Object.assign(this.context, { strokeStyle: stroke, lineWidth });
      this.context.stroke();
    }
  }

  /** @param {Place[]} places @param {string} colour @param {number} width
   * @param {boolean} [closed] */
  path(places, colour, width, closed = false) {
    if (places.length < 2) return;
    const { context, view } = this;
    context.beginPath();
    places.forEach(([x, y]) => context.lineTo(...view.toScreen(x, y)));
    if (closed) context.closePath();
    context.lineJoin = "round";
    context.lineCap = "round";
    this.#rimmed(colour, width);
  }

  /** @param {Place} place @param {number} radius @param {string} colour @param {string | null} [filled] @param {number} [width] */
  ring(place, radius, colour, filled = null, width = 2) {
    const { context, view } = this;
    const [px, py] = view.toScreen(place[0], place[1]);
    context.beginPath();
    context.arc(px, py, radius, 0, 7);
    if (filled) {
      context.fillStyle = filled;
      context.fill();
    }
    this.#rimmed(colour, width);
  }

  /** @param {Place} place @param {string} colour */
  cross(place, colour) {
    const { context, view } = this;
    const [px, py] = view.toScreen(place[0], place[1]);
    for (const [stroke, width] of /** @type {[string, number][]} */ ([
      [this.theme.paper, 5],
      [colour, 1.75],
    ])) {
      context.strokeStyle = stroke;
      context.lineWidth = width;
      context.lineCap = "round";
      context.beginPath();
      for (const [dx, dy] of [
        [1, 0],
        [-1, 0],
        [0, 1],
        [0, -1],
      ]) {
        context.moveTo(px + 5 * dx, py + 5 * dy);
        context.lineTo(px + 12 * dx, py + 12 * dy);
      }
      context.stroke();
    }
    context.beginPath();
    context.arc(px, py, 1.75, 0, 7);
    context.fillStyle = colour;
    context.fill();
  }

  /** @param {string} text @param {Place} place @param {string} colour @param {number} size @param {number} [down] pixels */
  words(text, place, colour, size, down = 0) {
    const { context, view, theme } = this;
    const [px, py] = view.toScreen(place[0], place[1]);
    context.font = `650 ${size}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.strokeStyle = theme.paper;
    context.globalAlpha = 0.9;
    context.lineWidth = 5;
    context.strokeText(text, px, py + down);
    context.globalAlpha = 1;
    context.fillStyle = colour;
    context.fillText(text, px, py + down);
  }

  /** @param {import("./chart.js").Chart} chart */
  densities(chart) {
    const { theme } = this;
    for (const { lines, mass } of chart.prior) this.segments(lines, theme.accent, 1.25, mass > 0.8 ? [2, 5] : [7, 5]);
    for (const { lines, mass } of chart.posterior) this.segments(lines, theme.ink, mass > 0.8 ? 0.75 : 1.4);
  }

  /** Names of classes at their middles. @param {{label: number, name: string, place: Place}[]} middles @param {number} count */
  names(middles, count) {
    for (const { label, name, place } of middles) {
      const short = name.length > 22 ? `${name.slice(0, 21)}…` : name;
      this.words(
        short,
        place,
        css(mixed(classColour(label, count, this.theme), rgbOf(this.theme.ink), 0.4)),
        middles.length > 12 ? 12 : short.length < 4 ? 19 : 15,
      );
    }
  }

  /** @param {Marks} marks @param {ArrayLike<number>} x @param {ArrayLike<number>} y */
  marks(marks, x, y) {
    const { theme, context, view } = this;
    for (const { items, colour } of marks.groups) {
      context.fillStyle = colour;
      for (const i of items) {
        const [px, py] = view.toScreen(x[i], y[i]);
        context.beginPath();
        context.arc(px, py, 3, 0, 7);
        context.fill();
      }
    }
    for (const { x: px, y: py, radius } of marks.rings)
      this.ring([px, py], Math.max(9, radius * view.k), theme.warm, null, 2.5);
    for (const { places, colour } of marks.paths) this.path(places, colour, 2.5);
    marks.players.forEach((place, k) => this.ring(place, 6, theme.ink, marks.paths[k]?.colour ?? theme.accent));
    marks.stops.forEach((place, k) => {
      this.ring(place, 9, theme.ink, theme.paper, 1.5);
      this.words(String(k + 1), place, theme.ink, 11);
    });
    this.path(marks.lasso, theme.accent, 2, true);
    this.path(marks.trail, theme.warm, 1.25);
    if (marks.own) this.ring(marks.own, 8, theme.warm, theme.paper, 3);
    if (marks.selected >= 0) this.ring([x[marks.selected], y[marks.selected]], 11, theme.ink, null, 2.5);
    if (marks.pinned) this.cross(marks.pinned, theme.accent);
    if (marks.linked) this.cross(marks.linked, theme.warm);
  }
}
