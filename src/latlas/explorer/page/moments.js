// Earlier moments of training on one map: where the items were, and the planes that were decoded then. Read when asked for.

import { backgroundOf, floatsOf, integersOf } from "./blocks.js";

/** @typedef {import("./contract").Snapshots} Snapshots */
/** @typedef {import("./chart.js").BackgroundOf} BackgroundOf */

export class Moments {
  /** Which items, and their places at all snapshots; null until they are read. @type {{items: Int32Array, places: Float32Array} | null} */
  points = null;
  /** @type {Promise<void> | null} */ #reading = null;
  /** @type {Map<number, BackgroundOf | null | undefined>} */ #planes = new Map();

  /** @param {Snapshots} data @param {number} n items of the run */
  constructor(data, n) {
    this.data = data;
    this.n = n;
    this.steps = data.steps;
  }

  /** Reads the places. */
  read() {
    this.#reading ??= (async () => {
      const { items, places } = this.data;
      this.points = {
        items: items ? await integersOf(items) : Int32Array.from({ length: this.n }, (_, i) => i),
        places: await floatsOf(places),
      };
    })();
    return this.#reading;
  }

  /** Whether a snapshot has a plane. @param {number} k */
  decoded(k) {
    return !!this.data.backgrounds?.[k];
  }

  /** The plane of a snapshot, null where it has none; undefined until it is read, and then `arrived` is called.
   * @param {number} k @param {() => void} arrived */
  plane(k, arrived) {
    const data = this.data.backgrounds?.[k];
    if (!data) return null;
    if (!this.#planes.has(k)) {
      this.#planes.set(k, undefined);
      backgroundOf(data)
        .catch(() => null)
        .then((plane) => {
          this.#planes.set(k, plane);
          arrived();
        });
    }
    return this.#planes.get(k);
  }
}
