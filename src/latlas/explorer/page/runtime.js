// onnxruntime-web's WebAssembly build as one script, which the page finds as latlasRuntime.
export { InferenceSession, Tensor, env } from "onnxruntime-web/wasm";
