// Animated GIF (89a) of frames of one size: 6 x 7 x 6 colours, dithered in order, or 256 greys.

/** @param {ImageData[]} frames @param {number} delay in hundredths of a second @returns {Blob} */
export function gif(frames, delay) {
  const [{ width, height }] = frames;
  const grey = frames.every((f) => isGrey(f.data));
  /** @type {number[]} */
  const head = [...ascii("GIF89a"), ...short(width), ...short(height), 0xf7, 0, 0];
  for (let i = 0; i < 256; i++) {
    if (grey) head.push(i, i, i);
    else if (i < 252)
      head.push(
        Math.round(51 * Math.floor(i / 42)),
        Math.round(42.5 * (Math.floor(i / 6) % 7)),
        Math.round(51 * (i % 6)),
      );
    else head.push(0, 0, 0);
  }
  head.push(0x21, 0xff, 11, ...ascii("NETSCAPE2.0"), 3, 1, 0, 0, 0);
  /** @type {BlobPart[]} */
  const parts = [Uint8Array.from(head)];
  for (const frame of frames) {
    parts.push(
      Uint8Array.from([
        0x21,
        0xf9,
        4,
        4,
        ...short(delay),
        0,
        0,
        0x2c,
        0,
        0,
        0,
        0,
        ...short(width),
        ...short(height),
        0,
      ]),
    );
    parts.push(packed(indexed(frame, grey)));
  }
  parts.push(Uint8Array.from([0x3b]));
  return new Blob(parts, { type: "image/gif" });
}

const ascii = (/** @type {string} */ text) => [...text].map((c) => c.charCodeAt(0));
const short = (/** @type {number} */ n) => [n & 255, (n >> 8) & 255];

/** @param {Uint8ClampedArray} data */
function isGrey(data) {
  for (let i = 0; i < data.length; i += 4) if (data[i] !== data[i + 1] || data[i] !== data[i + 2]) return false;
  return true;
}

const BAYER = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5].map((v) => (v + 0.5) / 16 - 0.5);

/** @param {ImageData} frame @param {boolean} grey */
function indexed({ data, width }, grey) {
  const given = new Uint8Array(data.length / 4);
  for (let i = 0; i < given.length; i++) {
    if (grey) {
      given[i] = data[4 * i];
      continue;
    }
    const shift = BAYER[(Math.floor(i / width) % 4) * 4 + ((i % width) % 4)];
    const level = (/** @type {number} */ v, /** @type {number} */ most) =>
      Math.min(most, Math.max(0, Math.round((v / 255) * most + 0.9 * shift)));
    given[i] = level(data[4 * i], 5) * 42 + level(data[4 * i + 1], 6) * 6 + level(data[4 * i + 2], 5);
  }
  return given;
}

/** LZW with codes of 8 bits and more, in blocks. @param {Uint8Array} pixels */
function packed(pixels) {
  const bytes = [];
  let [buffer, bits, size, next] = [0, 0, 9, 258];
  const write = (/** @type {number} */ code) => {
    buffer |= code << bits;
    bits += size;
    while (bits >= 8) {
      bytes.push(buffer & 255);
      buffer >>>= 8;
      bits -= 8;
    }
  };
  /** @type {Map<number, number>} */
  let table = new Map();
  write(256);
  let prefix = pixels[0];
  for (let i = 1; i < pixels.length; i++) {
    const key = (prefix << 8) | pixels[i];
    const known = table.get(key);
    if (known !== undefined) {
      prefix = known;
      continue;
    }
    write(prefix);
    prefix = pixels[i];
    if (next === 4096) {
      write(256);
      table = new Map();
      [size, next] = [9, 258];
      continue;
    }
    if (next === 1 << size) size++;
    table.set(key, next++);
  }
  write(prefix);
  write(257);
  if (bits > 0) bytes.push(buffer & 255);
  const given = [8];
  for (let at = 0; at < bytes.length; at += 255) {
    const block = bytes.slice(at, at + 255);
    given.push(block.length, ...block);
  }
  given.push(0);
  return Uint8Array.from(given);
}
