// Makes ../bundle: the same bytes from the same lock file, whoever runs it.

import { build } from "esbuild";
import { gzipSync } from "fflate"; // Node's own zlib gives other bytes from version to version
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";

const out = process.argv[2] ? pathToFileURL(`${resolve(process.argv[2])}/`) : new URL("../bundle/", import.meta.url);
const runtime = new URL("node_modules/onnxruntime-web/", import.meta.url);
await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });

const common = { bundle: true, minify: true, format: "iife", target: "es2022", charset: "utf8", legalComments: "none" };
// A classic script each: inline modules of a file could not import one another.
await build({
  ...common,
  entryPoints: ["main.js"],
  globalName: "latlasExplorer",
  outfile: new URL("explorer.js", out).pathname,
});
await build({
  ...common,
  entryPoints: ["runtime.js"],
  globalName: "latlasRuntime",
  outfile: new URL("runtime.js", out).pathname,
  platform: "browser",
  define: { "import.meta.url": JSON.stringify("https://latlas.invalid/runtime.js") }, // its WebAssembly is handed over, never loaded
});
await build({
  entryPoints: ["explorer.css"],
  minify: true,
  charset: "utf8",
  outfile: new URL("explorer.css", out).pathname,
});

const wasm = await readFile(new URL("dist/ort-wasm-simd-threaded.wasm", runtime));
await writeFile(new URL("runtime.wasm.gz", out), gzipSync(wasm, { level: 9, mtime: 0 }));

const { version, license } = JSON.parse(await readFile(new URL("package.json", runtime), "utf8"));
const licence = await readFile("LICENSE.onnxruntime", "utf8");
await writeFile(
  new URL("LICENSES.txt", out),
  `runtime.js and runtime.wasm.gz are onnxruntime-web ${version}, ${license}; what it builds on is listed in\nhttps://github.com/microsoft/onnxruntime/blob/main/ThirdPartyNotices.txt\nexplorer.js and explorer.css are part of latlas, Apache-2.0.\n\n${licence}`,
);
