// Codes to places of the map and back.

import { floatsOf } from "./blocks.js";
import { PlaceIndex, nearestRows, weighted } from "./neighbours.js";

/** @typedef {import("./contract").ProjectionData} ProjectionData */
/** @typedef {{place(code: ArrayLike<number>): [number, number], codeAt(x: number, y: number): Float32Array}} Projection */

/** Any two dimensions, the others at `rest`. @param {number} D @param {[number, number]} axes @param {ArrayLike<number>} rest
 * @returns {Projection} */
function alongAxes(D, axes, rest) {
  return {
    place: (code) => [code[axes[0]], D > 1 ? code[axes[1]] : 0],
    codeAt(x, y) {
      const code = Float32Array.from(rest);
      if (D > 1) code[axes[1]] = y;
      code[axes[0]] = x;
      return code;
    },
  };
}

/** @param {number[]} mean @param {number[][]} components @returns {Projection} */
function byComponents(mean, components) {
  const [a, b] = components;
  return {
    place(code) {
      let [x, y] = [0, 0];
      for (let k = 0; k < mean.length; k++) {
        x += (code[k] - mean[k]) * a[k];
        y += (code[k] - mean[k]) * b[k];
      }
      return [x, y];
    },
    codeAt: (x, y) => Float32Array.from(mean, (m, k) => m + x * a[k] + y * b[k]),
  };
}

/** The weighted mean of the nearest anchors, both ways. @param {Float32Array} codes @param {Float32Array} places @param {number} D
 * @param {number} count @returns {Projection} */
function byNeighbours(codes, places, D, count) {
  const m = places.length / 2;
  const x = Float32Array.from({ length: m }, (_, i) => places[2 * i]);
  const y = Float32Array.from({ length: m }, (_, i) => places[2 * i + 1]);
  const index = new PlaceIndex(x, y);
  return {
    place(code) {
      const [px, py] = weighted(places, 2, nearestRows(codes, D, code, count));
      return [px, py];
    },
    codeAt: (px, py) => weighted(codes, D, index.nearest(px, py, count)),
  };
}

/** @param {ProjectionData} data @param {number} D @returns {Promise<Projection>} */
export async function projectionOf(data, D) {
  if (data.kind === "pca") return byComponents(data.mean ?? [], data.components ?? []);
  if (data.kind === "neighbours" && data.anchors) {
    const [codes, places] = await Promise.all([floatsOf(data.anchors.codes), floatsOf(data.anchors.places)]);
    return byNeighbours(codes, places, D, data.neighbours ?? 4);
  }
  return alongAxes(D, data.axes ?? [0, 1], data.rest ?? new Float32Array(D));
}
