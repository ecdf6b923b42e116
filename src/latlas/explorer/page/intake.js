// Pictures that people bring, as items of the model's size.

import { canvasOf, pen } from "./dom.js";

/** @typedef {import("./run.js").Run} Run */

/** A picture's values: its middle square (or the items' format), reduced, in the items' channels. @param {CanvasImageSource & {width: number, height: number}} picture
 * @param {number[]} shape @returns {Float32Array} */
export function valuesOfPicture(picture, shape) {
  const [height, width] = shape;
  const scale = Math.max(width / picture.width, height / picture.height);
  const [w, t] = [width / scale, height / scale];
  /** @type {any} */
  let source = picture;
  let [sx, sy, sw, sh] = [(picture.width - w) / 2, (picture.height - t) / 2, w, t];
  // Halved as long as it is twice too large: browsers take few samples when they reduce a lot at once.
  while (sw >= 2 * width && sh >= 2 * height) {
    const half = canvasOf(Math.ceil(sw / 2), Math.ceil(sh / 2));
    pen(half).drawImage(source, sx, sy, sw, sh, 0, 0, half.width, half.height);
    source = half;
    [sx, sy, sw, sh] = [0, 0, half.width, half.height];
  }
  const small = canvasOf(width, height);
  const context = pen(small, true);
  context.fillStyle = "#ffffff"; // what transparent pictures are meant to lie on
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, sx, sy, sw, sh, 0, 0, width, height);
  return fromPixels(context.getImageData(0, 0, width, height), shape[2]);
}

/** @param {ImageData} image @param {number} channels @returns {Float32Array} */
export function fromPixels({ data }, channels) {
  const values = new Float32Array((data.length / 4) * channels);
  for (let i = 0; i < data.length / 4; i++) {
    const [red, green, blue] = [data[4 * i] / 255, data[4 * i + 1] / 255, data[4 * i + 2] / 255];
    if (channels < 3) values.fill(0.299 * red + 0.587 * green + 0.114 * blue, i * channels, (i + 1) * channels);
    else values.set([red, green, blue, ...new Array(channels - 3).fill(1)], i * channels);
  }
  return values;
}

/** The mean value at the border of pictures: what their ground is. @param {Float32Array} values @param {number[]} shape */
export function ground(values, shape) {
  const [height, width, channels] = shape;
  let [sum, count] = [0, 0];
  for (let r = 0; r < height; r++) {
    for (let c = 0; c < width; c++) {
      if (r > 0 && c > 0 && r < height - 1 && c < width - 1) continue;
      for (let k = 0; k < channels; k++) sum += values[(r * width + c) * channels + k];
      count += channels;
    }
  }
  return sum / count;
}

/** The usual ground of the items, from some of them. @param {Run} run @returns {Promise<number>} */
export async function usualGround(run) {
  let [sum, count] = [0, 0];
  for (let i = 0; i < run.n && count < 40; i += Math.max(1, Math.floor(run.n / 40))) {
    const values = await run.valuesOf(i).catch(() => null);
    if (!values) return NaN;
    sum += ground(values, run.shape);
    count++;
  }
  return sum / count;
}

/** Files that look like pictures, in a drop or a paste. @param {DataTransfer | null} transfer */
export const picturesIn = (transfer) => [...(transfer?.files ?? [])].filter((file) => file.type.startsWith("image/"));

/** A row as it stands in a table: its numbers, and the words between them, as a sample's name and its class are.
 * @param {string} text @param {number} size how many numbers are wanted */
export function rowOf(text, size) {
  const ways = [/[\t;]/, /[\t;,]/, /[\s;,]+/].map((between) => {
    const cells = text
      .split(between)
      .map((cell) => cell.trim().replace(/^"(.*)"$/, "$1"))
      .filter(Boolean);
    const value = (/** @type {string} */ cell) => Number(between.source.includes(",") ? cell : cell.replace(",", "."));
    const numbers = cells.map(value).filter(Number.isFinite);
    return { numbers, words: cells.filter((cell) => !Number.isFinite(value(cell))) };
  });
  return ways.find(({ numbers }) => numbers.length === size) ?? ways[1];
}
