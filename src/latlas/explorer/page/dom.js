// Elements, made without markup: whatever a name holds, it is shown as text.

/**
 * @typedef {Node | string | null | undefined | false} Child
 * @param {string} tag @param {Record<string, any>} [attributes] `on` are listeners, `data` data attributes.
 * @param {...Child} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, listen] of Object.entries(value)) element.addEventListener(event, listen);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "style") Object.assign(element.style, value);
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.filter((c) => c !== null && c !== undefined && c !== false).map((c) => /** @type {any} */ (c)),
  );
  return element;
}

/** @param {Element} parent @param {...Child} children */
export function fill(parent, ...children) {
  parent.replaceChildren(
    ...children.filter((c) => c !== null && c !== undefined && c !== false).map((c) => /** @type {any} */ (c)),
  );
}

/** A button. @param {string} text @param {() => void} press @param {Record<string, any>} [attributes] */
export function button(text, press, attributes = {}) {
  return h("button", { type: "button", text, on: { click: press }, ...attributes });
}

/** A button that is on or off. @param {string} text @param {boolean} on @param {(on: boolean) => void} change
 * @param {Record<string, any>} [attributes] */
export function toggle(text, on, change, attributes = {}) {
  const element = button(
    text,
    () => {
      const now = element.getAttribute("aria-pressed") !== "true";
      element.setAttribute("aria-pressed", String(now));
      change(now);
    },
    { "aria-pressed": String(on), ...attributes },
  );
  return element;
}

/** @param {number} width @param {number} height @returns {HTMLCanvasElement} */
export function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** A canvas's pixels, which drawing code may assume. @param {HTMLCanvasElement} canvas @param {boolean} [often] read back often */
export function pen(canvas, often = false) {
  const context = canvas.getContext("2d", { willReadFrequently: often });
  if (!context) throw new Error("this browser draws no canvas");
  return context;
}

/** Whether the page is as on a phone: one column, which scrolls. */
export const narrow = () => matchMedia("(max-width: 52rem)").matches;

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Hands a file to the person. @param {string} name @param {Blob} blob */
export function save(name, blob) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
