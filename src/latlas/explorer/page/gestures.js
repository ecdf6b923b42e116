// Mouse, touch and keys on a map, as what they mean.

/**
 * @typedef {object} Meanings
 * @property {(px: number, py: number) => void} point the pointer is here
 * @property {() => void} leave it has gone
 * @property {(px: number, py: number, more: boolean) => void} pick it was pressed here
 * @property {(dx: number, dy: number) => void} pan
 * @property {(factor: number, px?: number, py?: number) => void} zoom
 * @property {() => boolean} draws whether dragging draws instead of moving the map
 * @property {(px: number, py: number, phase: "begin" | "go" | "end") => void} draw
 * @property {(dx: number, dy: number) => void} nudge the arrow keys, in pixels
 * @property {(key: string) => boolean} key any other key; whether it meant something
 */

/** @param {HTMLElement} element @param {Meanings} means */
export function listen(element, means) {
  /** @type {Map<number, {x: number, y: number}>} */
  const fingers = new Map();
  let [moved, drawing, pinched] = [0, false, false];
  // Asking where the map is makes the browser lay out the page: once is enough while the pointer moves.
  /** @type {DOMRect | null} */
  let box = null;
  const forget = () => (box = null);
  new ResizeObserver(forget).observe(element);
  addEventListener("resize", forget);
  addEventListener("scroll", forget, { capture: true, passive: true });
  for (const name of ["pointerenter", "pointerdown", "wheel"])
    element.addEventListener(name, forget, { passive: true });
  const at = (/** @type {MouseEvent} */ event) => {
    box ??= element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    const here = at(event);
    fingers.set(event.pointerId, here);
    element.setPointerCapture(event.pointerId);
    moved = 0;
    if (fingers.size > 1) pinched = true;
    else {
      pinched = false;
      if (means.draws()) {
        drawing = true;
        means.draw(here.x, here.y, "begin");
      } else if (event.pointerType !== "mouse") means.point(here.x, here.y);
    }
  });

  element.addEventListener("pointermove", (event) => {
    const here = at(event);
    const before = fingers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") means.point(here.x, here.y);
      return;
    }
    moved += Math.hypot(here.x - before.x, here.y - before.y);
    if (fingers.size === 2) {
      const other = [...fingers].filter(([id]) => id !== event.pointerId)[0][1];
      const spread = (/** @type {{x: number, y: number}} */ p) => Math.max(8, Math.hypot(p.x - other.x, p.y - other.y));
      means.pan((here.x - before.x) / 2, (here.y - before.y) / 2);
      means.zoom(spread(here) / spread(before), (here.x + other.x) / 2, (here.y + other.y) / 2);
    } else if (drawing) means.draw(here.x, here.y, "go");
    else if (event.pointerType === "mouse") {
      if (moved > 3) means.pan(here.x - before.x, here.y - before.y);
    } else if (!pinched) means.point(here.x, here.y);
    fingers.set(event.pointerId, here);
  });

  const up = (/** @type {PointerEvent} */ event, /** @type {boolean} */ kept) => {
    if (!fingers.delete(event.pointerId)) return;
    const here = at(event);
    if (drawing) {
      drawing = false;
      means.draw(here.x, here.y, "end");
    } else if (kept && moved <= 6 && !pinched) means.pick(here.x, here.y, event.shiftKey);
  };
  element.addEventListener("pointerup", (event) => up(event, true));
  element.addEventListener("pointercancel", (event) => up(event, false));
  element.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && !fingers.size) means.leave();
  });

  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const here = at(event);
      const lines = event.deltaMode === 1 ? 30 : 1;
      means.zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) * 0.0022), here.x, here.y);
    },
    { passive: false },
  );

  element.addEventListener("dblclick", (event) => {
    const here = at(event);
    means.zoom(event.shiftKey ? 0.5 : 2, here.x, here.y);
  });

  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 48 : 10;
    const arrows = /** @type {Record<string, number[]>} */ ({
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, -step],
      ArrowDown: [0, step],
    });
    const arrow = arrows[event.key];
    if (arrow) means.nudge(arrow[0], arrow[1]);
    else if (event.key === "+" || event.key === "=") means.zoom(1.4);
    else if (event.key === "-") means.zoom(1 / 1.4);
    else if (!means.key(event.key)) return;
    event.preventDefault();
  });
}
