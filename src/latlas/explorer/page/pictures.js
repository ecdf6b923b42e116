// Values as pictures: images, lines for vectors, bars with the training range for tables.

import { canvasOf, h, narrow, pen } from "./dom.js";
import { css, rgbOf } from "./colours.js";
import { number } from "./words.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./colours.js").Theme} Theme */

const ROW = 21; // pixels of a table's row
const LONGEST = 16; // columns that are drawn as bars; more are a line
const [STANDING_OUT, FEW] = [12, 6]; // bars of a table with more columns, and on a phone

/** @param {Float32Array} values @param {number[]} shape @returns {ImageData} */
export function imageData(values, shape) {
  const [height, width, channels] = shape;
  const image = new ImageData(width, height);
  const { data } = image; // clamps and rounds by itself
  const colour = channels >= 3;
  for (let i = 0, at = 0; i < width * height; i++, at += channels) {
    data[4 * i] = 255 * values[at];
    data[4 * i + 1] = 255 * values[at + (colour ? 1 : 0)];
    data[4 * i + 2] = 255 * values[at + (colour ? 2 : 0)];
    data[4 * i + 3] = 255;
  }
  return image;
}

/** Draws values into a canvas, whose size it sets. @param {HTMLCanvasElement} canvas @param {Run} run @param {Float32Array} values
 * @param {Theme} theme @param {Float32Array | null} [beside] values to compare with @param {boolean} [named] whether there
 * is room for names, so that a table of many columns is bars of those that stand out instead of a line */
export function paint(canvas, run, values, theme, beside = null, named = false) {
  if (run.kind === "image") {
    const image = imageData(values, run.shape);
    if (canvas.width !== image.width || canvas.height !== image.height) {
      canvas.width = image.width;
      canvas.height = image.height;
    }
    canvas.classList.toggle("pixels", Math.max(image.width, image.height) <= 96);
    pen(canvas).putImageData(image, 0, 0);
  } else if (values.length <= LONGEST || (named && hasNames(run))) bars(canvas, run, values, theme, beside);
  else line(canvas, run, values, theme, beside);
}

/** Whether columns mean something by themselves, as those of a signal do not. @param {Run} run */
const hasNames = (run) => run.kind === "table" && !!run.data.columns;

/** The columns to show: all of a few; of a table with many those furthest from their training mean, the furthest first.
 * @param {Run} run @param {Float32Array} values @param {Float32Array | null} [beside] @returns {number[]} */
export function standingOut(run, values, beside = null) {
  const all = Array.from(values.keys());
  const { columns, scaling } = run.data;
  if (values.length <= LONGEST) return all;
  if (!columns || !hasNames(run)) return all.slice(0, LONGEST);
  const away = (/** @type {number} */ k) => {
    const { mean, least, most } = columns[k];
    const furthest = Math.max(Math.abs(values[k] - mean), beside ? Math.abs(beside[k] - mean) : 0);
    return furthest / (scaling?.scale[k % scaling.scale.length] || most - least || 1);
  };
  const distances = all.map(away);
  return all.sort((a, b) => distances[b] - distances[a]).slice(0, narrow() ? FEW : STANDING_OUT);
}

/** What a picture shows, for those who do not see it. @param {Run} run @param {Float32Array} values */
export function described(run, values) {
  if (run.kind === "image") return "";
  return standingOut(run, values)
    .map((k) => `${run.data.columns?.[k]?.name ?? k}: ${number(values[k])}`)
    .join(", ");
}

/** A canvas of this size on screen, sharp. @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
function sized(canvas, width, height) {
  const ratio = Math.min(3, devicePixelRatio || 1);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.classList.remove("pixels");
  const context = pen(canvas);
  context.scale(ratio, ratio);
  return context;
}

/** The span of a column: the training range, or that of the values. @param {Run} run @param {number} k @param {number} value */
function span(run, k, value) {
  const column = run.data.columns?.[k];
  if (column && column.most > column.least) return column;
  return { least: Math.min(0, value), most: Math.max(1, value), mean: 0, name: String(k) };
}

/** @param {HTMLCanvasElement} canvas @param {Run} run @param {Float32Array} values @param {Theme} theme @param {Float32Array | null} beside */
function bars(canvas, run, values, theme, beside) {
  const width = 340;
  const shown = standingOut(run, values, beside);
  const some = shown.length < values.length;
  const context = sized(canvas, width, ROW * (shown.length + (some ? 1 : 0)) + 4);
  const [left, right] = [132, 62];
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  shown.forEach((k, row) => {
    const value = values[k];
    const column = span(run, k, value);
    const y = ROW * row + ROW / 2 + 2;
    const room = width - left - right;
    // The training range takes the middle of the row, so that what lies outside can be seen outside.
    const x = (/** @type {number} */ v) =>
      left + room * Math.min(1, Math.max(0, 0.12 + 0.76 * ((v - column.least) / (column.most - column.least))));
    const outside = value < column.least || value > column.most;
    context.fillStyle = theme.muted;
    context.textAlign = "right";
    context.fillText(clipped(context, column.name, left - 14), left - 10, y);
    context.fillStyle = theme.line;
    context.beginPath();
    context.roundRect(x(column.least), y - 5, x(column.most) - x(column.least), 10, 5);
    context.fill();
    const from = x(column.mean);
    context.fillStyle = outside ? theme.warm : theme.accent;
    context.globalAlpha = 0.45;
    context.fillRect(Math.min(from, x(value)), y - 2, Math.abs(x(value) - from), 4);
    context.globalAlpha = 1;
    if (beside) {
      context.strokeStyle = theme.ink;
      context.lineWidth = 1.5;
      context.beginPath();
      context.moveTo(x(beside[k]), y - 8);
      context.lineTo(x(beside[k]), y + 8);
      context.stroke();
    }
    context.beginPath();
    context.arc(x(value), y, 5, 0, 7);
    context.fill();
    context.fillStyle = outside ? theme.warm : theme.ink;
    context.fillText(number(value), width - 4, y);
  });
  if (!some) return;
  context.fillStyle = theme.muted;
  const words = `${shown.length} of ${values.length} columns: the furthest from their mean`;
  context.fillText(words, width - 4, ROW * shown.length + ROW / 2 + 2);
}

/** @param {CanvasRenderingContext2D} context @param {string} text @param {number} room */
function clipped(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let short = text;
  while (short.length > 1 && context.measureText(`${short}…`).width > room) short = short.slice(0, -1);
  return `${short}…`;
}

/** @param {HTMLCanvasElement} canvas @param {Run} run @param {Float32Array} values @param {Theme} theme @param {Float32Array | null} beside */
function line(canvas, run, values, theme, beside) {
  const [width, height] = [340, 150];
  const context = sized(canvas, width, height);
  const columns = run.data.columns;
  let [least, most] = [Infinity, -Infinity];
  for (let k = 0; k < values.length; k++) {
    least = Math.min(least, values[k], columns?.[k]?.least ?? Infinity);
    most = Math.max(most, values[k], columns?.[k]?.most ?? -Infinity);
  }
  const x = (/** @type {number} */ k) => 4 + ((width - 8) * k) / Math.max(1, values.length - 1);
  const y = (/** @type {number} */ v) => height - 6 - ((height - 12) * (v - least)) / (most - least || 1);
  if (columns) {
    context.fillStyle = theme.line;
    context.beginPath();
    columns.forEach((c, k) => context.lineTo(x(k), y(c.most)));
    [...columns].reverse().forEach((c, k) => context.lineTo(x(columns.length - 1 - k), y(c.least)));
    context.fill();
  }
  const draw = (/** @type {Float32Array} */ these, /** @type {string} */ colour) => {
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.beginPath();
    these.forEach((v, k) => context.lineTo(x(k), y(v)));
    context.stroke();
  };
  if (beside) draw(beside, theme.muted);
  draw(values, theme.accent);
}

/** A picture of values, new. @param {Run} run @param {Float32Array} values @param {Theme} theme @param {string} label */
export function pictureOf(run, values, theme, label) {
  const words = described(run, values);
  const canvas = h("canvas", {
    role: "img",
    "aria-label": words ? `${label}. ${words}` : label,
    class: `picture ${run.kind}`,
  });
  paint(canvas, run, values, theme, null, true);
  return canvas;
}

/** A row beside its reconstruction. @param {Run} run @param {Float32Array} values @param {Float32Array} made @param {Theme} theme
 * @param {string} whose */
export function comparedOf(run, values, made, theme, whose) {
  const canvas = canvasOf(1, 1);
  canvas.className = `picture ${run.kind}`;
  canvas.setAttribute("role", "img");
  const how = `Reconstruction as dots, ${whose} as marks, over the training range`;
  canvas.setAttribute("aria-label", `${how}. ${described(run, made)}`);
  paint(canvas, run, made, theme, values, true);
  return canvas;
}

/** Draws an item's thumbnail; false without one. @param {CanvasRenderingContext2D} context @param {Run} run @param {number} i
 * @param {number} x @param {number} y @param {number} width @param {number} height */
export function drawThumbnail(context, run, i, x, y, width, height) {
  const atlas = run.thumbnails;
  if (!atlas) return false;
  const { width: w, height: t, columns } = atlas;
  context.drawImage(atlas.image, (i % columns) * w, Math.floor(i / columns) * t, w, t, x, y, width, height);
  return true;
}

/** A thumbnail by itself. @param {Run} run @param {number} i */
export function thumbnailOf(run, i) {
  const atlas = run.thumbnails;
  const canvas = canvasOf(atlas?.width ?? 8, atlas?.height ?? 8);
  canvas.className = "thumbnail pixels";
  if (atlas) drawThumbnail(pen(canvas), run, i, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** One cell of the plane: ink on paper for grey pictures, so that a plane of them stays calm. @param {Uint8ClampedArray} values
 * @param {number[]} shape @param {Theme} theme @param {boolean} light whether items are dark on light */
export function tileOf(values, shape, theme, light) {
  const [height, width, channels] = shape;
  const image = new ImageData(width, height);
  const { data } = image;
  const ink = rgbOf(theme.ink);
  for (let i = 0, at = 0; i < width * height; i++, at += channels) {
    if (channels >= 3) data.set([values[at], values[at + 1], values[at + 2], 255], 4 * i);
    else data.set([...ink, light ? 255 - values[at] : values[at]], 4 * i);
  }
  const canvas = canvasOf(width, height);
  pen(canvas).putImageData(image, 0, 0);
  return canvas;
}

/** @type {WeakMap<Run, {ink: Uint8ClampedArray, width: number, made: Map<number, {colour: string, canvas: HTMLCanvasElement}>}>} */
const inks = new WeakMap();

/** A grey item as ink of a colour, so that a map of them is no wall of dark squares. @param {Run} run @param {number} i
 * @param {[number, number, number]} rgb @param {boolean} light whether items are dark on light */
export function inked(run, i, rgb, light) {
  const atlas = /** @type {NonNullable<Run["thumbnails"]>} */ (run.thumbnails);
  let known = inks.get(run);
  if (!known) {
    const whole = canvasOf(atlas.image.width, atlas.image.height);
    const context = pen(whole, true);
    context.drawImage(atlas.image, 0, 0);
    const { data } = context.getImageData(0, 0, whole.width, whole.height);
    known = {
      ink: Uint8ClampedArray.from({ length: data.length / 4 }, (_, k) => data[4 * k]),
      width: whole.width,
      made: new Map(),
    };
    inks.set(run, known);
  }
  const colour = rgb.join();
  const old = known.made.get(i);
  if (old?.colour === colour) return old.canvas;
  const [left, top] = [(i % atlas.columns) * atlas.width, Math.floor(i / atlas.columns) * atlas.height];
  const image = new ImageData(atlas.width, atlas.height);
  for (let r = 0; r < atlas.height; r++) {
    for (let c = 0; c < atlas.width; c++) {
      const value = known.ink[(top + r) * known.width + left + c];
      image.data.set([...rgb, light ? 255 - value : value], 4 * (r * atlas.width + c));
    }
  }
  const canvas = canvasOf(atlas.width, atlas.height);
  pen(canvas).putImageData(image, 0, 0);
  if (known.made.size > 3000) known.made.clear();
  known.made.set(i, { colour, canvas });
  return canvas;
}

/** A frame of class colour. @param {CanvasRenderingContext2D} context @param {[number, number, number]} rgb @param {number} x @param {number} y
 * @param {number} width @param {number} height */
export function frame(context, rgb, x, y, width, height) {
  context.strokeStyle = css(rgb);
  context.lineWidth = 2;
  context.strokeRect(x, y, width, height);
}
