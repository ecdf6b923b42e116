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

/** Calls when nothing was asked for a while. @template A @param {number} wait in milliseconds @param {(asked: A) => void} work */
export function rested(wait, work) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return (/** @type {A} */ asked) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(asked), wait);
  };
}
