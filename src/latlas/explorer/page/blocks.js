// Blocks of the data: base64, perhaps compressed, to arrays and pictures.

/** @typedef {import("./contract").Block} Block */
/** @typedef {import("./contract").Atlas} Atlas */

/** @param {string} text @returns {Uint8Array<ArrayBuffer>} */
export function fromBase64(text) {
  const native = /** @type {any} */ (Uint8Array).fromBase64;
  if (native) return native.call(Uint8Array, text);
  const binary = atob(text.trim());
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** @param {Uint8Array<ArrayBuffer>} bytes @returns {Promise<Uint8Array<ArrayBuffer>>} */
async function unzipped(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @type {Record<string, string>} Sent with requests to the local server. */
const headers = {};

/** @param {string} token */
export function useToken(token) {
  headers["X-Latlas-Token"] = token;
}

/** A request to the local server. @param {string} url @param {RequestInit} [options] */
export async function asked(url, options = {}) {
  const answer = await fetch(url, { ...options, headers: { ...headers, ...options.headers } });
  if (!answer.ok) throw new Error(`the server answers ${answer.status}: ${(await answer.text()).slice(0, 200)}`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** @param {Block} block @returns {Promise<Uint8Array<ArrayBuffer>>} */
export async function bytesOf(block) {
  let bytes;
  if (block.url !== undefined) bytes = await asked(block.url);
  else if (block.element !== undefined) {
    const element = document.getElementById(block.element);
    if (!element) throw new Error(`the page lacks its part ${block.element}`);
    bytes = fromBase64(element.textContent ?? "");
    element.textContent = ""; // the text is needed once
  } else bytes = fromBase64(block.base64 ?? "");
  return block.encoding === "gzip" ? unzipped(bytes) : bytes;
}

/** @param {Uint16Array} halves */
function fromHalves(halves) {
  return Float32Array.from(halves, (v) => {
    const sign = v & 0x8000 ? -1 : 1;
    const exponent = (v >> 10) & 31;
    const fraction = v & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}

/** Numbers as float32; uint8 are bytes of which 255 is 1 if `unit`. @param {Block} block @param {boolean} [unit]
 * @returns {Promise<Float32Array>} */
export async function floatsOf(block, unit = false) {
  const bytes = await bytesOf(block);
  switch (block.type) {
    case "float32":
      return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
    case "float64":
      return Float32Array.from(new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 3));
    case "float16":
      return fromHalves(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1));
    case "uint8":
      return Float32Array.from(bytes, unit ? (v) => v / 255 : undefined);
    default:
      return Float32Array.from(await integersOf(block, bytes));
  }
}

/** @param {Block} block @param {Uint8Array<ArrayBuffer>} [read] @returns {Promise<Int32Array>} */
export async function integersOf(block, read) {
  const bytes = read ?? (await bytesOf(block));
  const { buffer, byteOffset: at, byteLength: size } = bytes;
  switch (block.type) {
    case "int32":
      return new Int32Array(buffer, at, size >> 2);
    case "int16":
      return Int32Array.from(new Int16Array(buffer, at, size >> 1));
    case "uint16":
      return Int32Array.from(new Uint16Array(buffer, at, size >> 1));
    default:
      return Int32Array.from(bytes);
  }
}

/** @param {Atlas} atlas @returns {Promise<{image: ImageBitmap, width: number, height: number, columns: number}>} */
export async function atlasOf(atlas) {
  const image = await createImageBitmap(new Blob([await bytesOf(atlas.image)]));
  return { image, width: atlas.tile[0], height: atlas.tile[1], columns: atlas.columns };
}

/** @param {import("./contract").Background} data @returns {Promise<import("./chart.js").BackgroundOf>} */
export async function backgroundOf(data) {
  return { box: data.box, columns: data.columns, rows: data.rows, atlas: await atlasOf(data.atlas) };
}
