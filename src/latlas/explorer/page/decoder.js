// Models that run: in the page, by onnxruntime-web, or behind the local server. One interface, `Decoder`.

import { asked, bytesOf } from "./blocks.js";

/** @typedef {import("./contract").RunData} RunData */
/** @typedef {import("./contract").Network} Network */
/** @typedef {import("./contract").Block} Block */

/** One thing at a time, urgent ones first: a session runs one batch, and the pointer must not wait for the plane. */
class Queue {
  /** @type {(() => Promise<void>)[]} */ #urgent = [];
  /** @type {(() => Promise<void>)[]} */ #later = [];
  #busy = false;

  /** @template T @param {() => Promise<T>} work @param {boolean} urgent @returns {Promise<T>} */
  add(work, urgent) {
    return new Promise((resolve, reject) => {
      (urgent ? this.#urgent : this.#later).push(() => work().then(resolve, reject));
      if (!this.#busy) this.#drain();
    });
  }

  async #drain() {
    this.#busy = true;
    for (let next; (next = this.#urgent.shift() ?? this.#later.shift());) await next();
    this.#busy = false;
  }
}

/** @param {Float32Array | Float64Array} values @param {{shift: number[], scale: number[]} | undefined} units
 * @param {boolean} back from the file's units */
function converted(values, units, back) {
  const given = Float32Array.from(values);
  if (!units) return given;
  const { shift, scale } = units;
  for (let i = 0; i < given.length; i++) {
    const a = shift[i % shift.length];
    const b = scale[i % scale.length];
    given[i] = back ? (values[i] - a) / b : values[i] * b + a;
  }
  return given;
}

/** @type {Promise<any> | null} */
let runtime = null;

/** The runtime, started once. @param {Block | undefined} wasm */
function started(wasm) {
  runtime ??= (async () => {
    const ort = /** @type {any} */ (globalThis).latlasRuntime;
    if (!ort || !wasm) throw new Error("the page lacks the runtime that decodes");
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.proxy = false;
    ort.env.logLevel = "error";
    ort.env.wasm.wasmBinary = await bytesOf(wasm);
    return ort;
  })();
  return runtime;
}

/** Runs a network on rows. @typedef {(rows: Float32Array, n: number) => Promise<Float32Array[]>} Runner */

/** @param {Extract<Network, {kind: "onnx"}>} network @param {number[]} shape of one row @param {Block | undefined} wasm
 * @param {boolean} encoder @returns {Promise<Runner>} */
async function inThePage(network, shape, wasm, encoder) {
  const [ort, model] = await Promise.all([started(wasm), bytesOf(network.model)]);
  const session = await ort.InferenceSession.create(model, {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
  });
  const type = network.type ?? "float32";
  return async (rows, n) => {
    const input = encoder ? converted(rows, network.units, false) : rows;
    const data = type === "float64" ? Float64Array.from(input) : Float32Array.from(input);
    const tensor = new ort.Tensor(type, data, [n, ...shape]);
    const found = await session.run({ [session.inputNames[0]]: tensor });
    const outputs = session.outputNames.map((/** @type {string} */ name) => found[name].data);
    return encoder
      ? outputs.map((/** @type {any} */ o) => Float32Array.from(o))
      : [converted(outputs[0], network.units, true)];
  };
}

/** @param {Extract<Network, {kind: "server"}>} network @param {number} latent @param {boolean} encoder @returns {Runner} */
function behindTheServer(network, latent, encoder) {
  return async (rows, n) => {
    const body = new Uint8Array(Float32Array.from(rows).buffer);
    const bytes = await asked(network.url, {
      method: "POST",
      body,
      headers: { "Content-Type": "application/octet-stream" },
    });
    const given = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
    if (!encoder) return [given];
    const mean = new Float32Array(n * latent);
    const std = new Float32Array(n * latent);
    for (let i = 0; i < n; i++) {
      mean.set(given.subarray(2 * i * latent, (2 * i + 1) * latent), i * latent);
      std.set(given.subarray((2 * i + 1) * latent, (2 * i + 2) * latent), i * latent);
    }
    return [mean, std];
  };
}

/**
 * The model of a run, ready to run. What it lacks is said when it is asked for.
 * @param {RunData} run @param {Block | undefined} wasm @returns {Promise<import("./contract").Decoder>}
 */
export async function openDecoder(run, wasm) {
  const open = (
    /** @type {Network | null | undefined} */ network,
    /** @type {number[]} */ shape,
    /** @type {boolean} */ encoder,
  ) => {
    if (!network) return Promise.resolve(null);
    return network.kind === "onnx"
      ? inThePage(network, network.shape ?? shape, wasm, encoder)
      : Promise.resolve(behindTheServer(network, run.latent, encoder));
  };
  const [decoder, encoder] = await Promise.all([
    open(run.decoder, [run.latent], false),
    open(run.encoder, run.shape, true),
  ]);
  const queue = new Queue();
  return {
    where: run.decoder?.kind === "server" ? "on this machine's server" : "in this page",
    decodes: !!decoder,
    encodes: !!encoder,
    decode: (codes, n, soon = false) =>
      queue.add(async () => {
        if (!decoder) throw new Error("this page has no decoder");
        return (await decoder(codes, n))[0];
      }, soon),
    encode: (values, n, soon = false) =>
      queue.add(async () => {
        if (!encoder) throw new Error("this page has no encoder");
        const [mean, std] = await encoder(values, n);
        return { mean, std: std ?? new Float32Array(mean.length) };
      }, soon),
  };
}
