// Work that may be overtaken: of what is asked meanwhile, only the newest is done.

/** @template A @param {(asked: A, fresh: () => boolean) => Promise<void>} work @returns {(asked: A) => Promise<void>} */
export function latest(work) {
  /** @type {A | undefined} */
  let next;
  let waiting = false;
  /** @type {Promise<void> | null} */
  let running = null;
  const run = async () => {
    while (waiting) {
      waiting = false;
      await work(/** @type {A} */ (next), () => !waiting);
    }
    running = null;
  };
  return (asked) => {
    next = asked;
    waiting = true;
    running ??= run();
    return running;
  };
}

/** Calls after what is going on, the picture under the pointer above all, and not more often than every `wait` milliseconds, with
 * what was asked last. @template A @param {number} wait
 * @param {(asked: A) => void} work */
export function paced(wait, work) {
  let free = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const ask = (/** @type {A} */ asked) => {
    clearTimeout(timer);
    timer = setTimeout(
      () => {
        free = performance.now() + wait;
        work(asked);
      },
      Math.max(0, free - performance.now()),
    );
  };
  /** Forgets what was asked last. */
  return Object.assign(ask, { stop: () => clearTimeout(timer) });
}

/** Calls when nothing was asked for a while. @template A @param {number} wait in milliseconds @param {(asked: A) => void} work */
export function rested(wait, work) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return (/** @type {A} */ asked) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(asked), wait);
  };
}
