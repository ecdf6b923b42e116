// Numbers and distances as people read them.

/** @param {number} value @param {number} [digits] */
export function number(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4)
    return value
      .toExponential(digits - 1)
      .replace("-", "−")
      .replace("e+", "e");
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return value.toLocaleString("en", { maximumFractionDigits: Math.min(decimals, 8) }).replace("-", "−");
}

/** With as many decimals as its standard error is worth. @param {number} value @param {number} [error] */
export function measured(value, error) {
  if (!error) return number(value, 4);
  const decimals = Math.max(0, 1 - Math.floor(Math.log10(error)));
  const fixed = (/** @type {number} */ v) =>
    v.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }).replace("-", "−");
  return `${fixed(value)} ± ${fixed(error)}`;
}

/** @param {number} share */
export const percent = (share) => `${share >= 0.9995 && share < 1 ? "99.9" : number(100 * share, 2)} %`;

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** How far from the data a code is. @param {number} times distance over the typical one of test items */
export function far(times) {
  if (!Number.isFinite(times)) return "";
  if (times < 1.35) return "As near to the data as test items are.";
  return `${number(times, 2)} times further from the data than test items are.`;
}

/** How far, as a level that a colour can follow. @param {number} times @returns {"near" | "edge" | "far"} */
export const farLevel = (times) => (times < 2 ? "near" : times < 4 ? "edge" : "far");
