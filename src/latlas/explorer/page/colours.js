// Colours of classes and scales, light and dark; canvases read the page's own colours from its style sheet.

// Paul Tol's "muted" scheme, as in the figures; its dark colours are light on dark paper.
const LIGHT = [
  "#332288",
  "#88ccee",
  "#cc6677",
  "#ddcc77",
  "#117733",
  "#aa4499",
  "#44aa99",
  "#882255",
  "#999933",
  "#222222",
];
const DARK = [
  "#9d8df1",
  "#88ccee",
  "#e58896",
  "#ddcc77",
  "#56b870",
  "#cf7cc2",
  "#5cc7b4",
  "#d5628f",
  "#b9b95a",
  "#d4d8df",
];
// Least to most, from paper to ink: a colour for "how much".
const SCALE = [
  [0.95, 0.02, 230],
  [0.8, 0.08, 225],
  [0.64, 0.12, 235],
  [0.47, 0.13, 262],
  [0.3, 0.1, 285],
];

/** @typedef {{dark: boolean, paper: string, ink: string, muted: string, line: string, accent: string, fog: string, warm: string}} Theme */

/** @param {Element} root @param {boolean} dark @returns {Theme} */
export function themeOf(root, dark) {
  const style = getComputedStyle(root);
  const read = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim() || "#888888";
  return {
    dark,
    paper: read("paper"),
    ink: read("ink"),
    muted: read("muted"),
    line: read("line"),
    accent: read("accent"),
    fog: read("fog"),
    warm: read("warm"),
  };
}

/** OKLCH to sRGB (Ottosson 2020). @param {number} l @param {number} c @param {number} hue in degrees @returns {[number, number, number]} */
function oklch(l, c, hue) {
  const a = c * Math.cos((hue * Math.PI) / 180);
  const b = c * Math.sin((hue * Math.PI) / 180);
  const [x, y, z] = [
    l + 0.3963377774 * a + 0.2158037573 * b,
    l - 0.1055613458 * a - 0.0638541728 * b,
    l - 0.0894841775 * a - 1.291485548 * b,
  ].map((v) => v ** 3);
  const linear = [
    4.0767416621 * x - 3.3077115913 * y + 0.2309699292 * z,
    -1.2684380046 * x + 2.6097574011 * y - 0.3413193965 * z,
    -0.0041960863 * x - 0.7034186147 * y + 1.707614701 * z,
  ];
  const [red, green, blue] = linear.map((v) =>
    Math.round(255 * Math.min(1, Math.max(0, v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055))),
  );
  return [red, green, blue];
}

/** @param {string} hex @returns {[number, number, number]} */
export function rgbOf(hex) {
  const full = hex.length === 4 ? hex.replace(/[^#]/g, "$&$&") : hex;
  const value = parseInt(full.slice(1), 16) || 0;
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/** The colour of class k of `count`. @param {number} k @param {number} count @param {Theme} theme @returns {[number, number, number]} */
export function classColour(k, count, theme) {
  if (k < 0) return rgbOf(theme.dark ? "#6f7886" : "#9aa1ac");
  if (count <= 1) return rgbOf(theme.accent);
  if (count <= LIGHT.length) return rgbOf((theme.dark ? DARK : LIGHT)[k]);
  // Neighbours in the list are far apart in hue, and every other ring is lighter.
  const ring = k % 3;
  return oklch(
    (theme.dark ? [0.8, 0.68, 0.88] : [0.55, 0.7, 0.4])[ring],
    [0.13, 0.12, 0.09][ring],
    (k * 137.508) % 360,
  );
}

/** A colour for a share from 0 to 1. @param {number} share @param {Theme} theme @returns {[number, number, number]} */
export function scaleColour(share, theme) {
  const at = Math.min(1, Math.max(0, Number.isFinite(share) ? share : 0)) * (SCALE.length - 1);
  const stops = theme.dark ? [...SCALE].reverse() : SCALE;
  const i = Math.min(SCALE.length - 2, Math.floor(at));
  const [l, c, hue] = stops[i].map((v, k) => v + (at - i) * (stops[i + 1][k] - v));
  return oklch(l, c, hue);
}

/** @param {[number, number, number]} a @param {[number, number, number]} b @param {number} share of b @returns {[number, number, number]} */
export const mixed = (a, b, share) =>
  [0, 1, 2]
    .map((k) => Math.round(a[k] + share * (b[k] - a[k])))
    .reduce((all, v, k) => ((all[k] = v), all), /** @type {[number, number, number]} */ ([0, 0, 0]));

/** @param {[number, number, number]} rgb @param {number} [alpha] */
export const css = (rgb, alpha = 1) => `rgba(${rgb[0]},${rgb[1]},${rgb[2]},${alpha})`;

/** As one little-endian pixel of ImageData. @param {[number, number, number]} rgb */
export const packed = (rgb) => ((255 << 24) | (rgb[2] << 16) | (rgb[1] << 8) | rgb[0]) >>> 0;
