// What the page is given: the contract between Python and the page. README.md in the folder above explains it.
// A place is a point (x, y) of the map, y upwards. A code is a point of latent space. Values are those of an item as
// Python has them: images in [0, 1], H x W x C, row by row; vectors and tables in data units.

/** Numbers or bytes. Exactly one of `base64`, `element` and `url` says where they are. */
export interface Block {
  type: "float32" | "float64" | "float16" | "int32" | "int16" | "uint16" | "uint8" | "bytes";
  shape?: number[];
  encoding?: "gzip";
  /** The bytes, little-endian, in base64. */
  base64?: string;
  /** The id of an element of the document whose text is the base64: such text is not parsed with the JSON. */
  element?: string;
  /** The address that serves the bytes, without base64, relative to the page. */
  url?: string;
}

export interface Data {
  format: 1;
  title: string;
  /** The version of latlas. */
  version: string;
  /** One run, or two to compare. */
  runs: RunData[];
  /** Whether row i of both runs is the same item. */
  same_items?: boolean;
  /** The runtime's WebAssembly; needed where a network is of kind onnx. */
  runtime?: Block;
  /** Sent as X-Latlas-Token with every request to the live page's server. */
  token?: string;
}

export interface RunData {
  name: string;
  /** The run folder, for "copy as Python". */
  path?: string;
  kind: "image" | "vector" | "table";
  /** [H, W, C] of images, [D] of vectors and tables. */
  shape: number[];
  latent: number;
  /** Data units to the model's scale: (x - shift) / scale along the last axis. Images need none: theirs is [0, 1]. */
  scaling?: { shift: number[]; scale: number[] };
  /** One for each column of vectors and tables. */
  columns?: Column[];
  /** Names of labels 0, 1, ...; empty without classes. */
  classes: string[];
  facts?: Fact[];
  numbers?: NumberOfRun[];
  findings?: FindingData[];
  items: Items;
  /** Codes of training items: what "the data" means for distances. */
  sample: { codes: Block; /** Median distance of a test item's code to the nearest of them. */ typical?: number };
  /** At least one; the first is shown. */
  projections: ProjectionData[];
  /** Var(mean codes) / Var(draws) of each dimension, and the mean KL in nats. */
  activity?: number[];
  rates?: number[];
  /** Dimensions that the decoder does not use. */
  collapsed?: number[];
  prior?: { name: string; /** Draws (m, D), of a prior that is not the standard normal. */ draws?: Block };
  decoder?: Network | null;
  encoder?: Network | null;
}

export interface Column {
  name: string;
  least: number;
  most: number;
  mean: number;
  unit?: string;
  integer?: boolean;
}
export interface Fact {
  title: string;
  value: string;
}
export interface NumberOfRun {
  title: string;
  value: number;
  error?: number;
  unit?: string;
  note?: string;
}

export interface FindingData {
  level: "serious" | "worth a look" | "notice";
  title: string;
  evidence: string;
  cause: string;
  advice: string;
  /** What it is about: dimensions, or circles of the first projection's map. */
  dimensions?: number[];
  regions?: { x: number; y: number; radius: number }[];
}

/** The n test items. */
export interface Items {
  n: number;
  /** Codes (n, D): means; and standard deviations where the posterior has them. */
  codes: Block;
  deviations?: Block;
  /** Labels (n,) as int32, -1 without one. */
  labels?: Block;
  /** File names, or whatever else an item is known by; else rows. */
  names?: string[];
  /** Rows in the data set, if not 0 ... n - 1. */
  rows?: Block;
  /** (n,) each, in nats per item; squared error per value on the model's scale. */
  elbo?: Block;
  distortion?: Block;
  rate?: Block;
  squared_error?: Block;
  /** KL per dimension (n, D), in nats. */
  kl?: Block;
  thumbnails?: Atlas;
  /** All values (n, ...): float32, or uint8 of which 255 is 1. */
  values?: Block;
  /** Else the address of one item's values, float32, with {row} for its number. */
  values_url?: string;
}

/** Pictures of one size in one PNG or WebP, row by row. */
export interface Atlas {
  image: Block;
  tile: [width: number, height: number];
  columns: number;
}

/** Cells over box = [x0, y0, x1, y1], row by row from y0 upwards. */
export interface Grid {
  box: [number, number, number, number];
  columns: number;
  rows: number;
}
export interface Field extends Grid {
  /** uint8 (255 is 1) or float32. */ values: Block;
}
export interface Background extends Grid {
  /** The decoded centres of the cells. */ atlas: Atlas;
}
/** A density with the levels to draw, each with the share of the mass inside. */
export interface Density extends Field {
  levels: { value: number; mass: number }[];
}

export interface ProjectionData {
  kind: "identity" | "axes" | "pca" | "neighbours";
  /** "t-SNE", "PCA", ... */
  title: string;
  note?: string;
  axes?: [number, number];
  /** Of axes: the other coordinates (D,). */
  rest?: number[];
  /** Of pca: mean (D,) and components (2, D). */
  mean?: number[];
  components?: number[][];
  /** Of neighbours: codes (m, D) and places (m, 2), and how many neighbours count. */
  anchors?: { codes: Block; places: Block };
  neighbours?: number;
  trustworthiness?: number;
  /** What decoding from the place costs on held-out items, in words ready to show, and the share with the right class. */
  round_trip?: { error: number; plain?: number; mean_image?: number; class_agreement?: number };
  /** Places of the items (n, 2); those of identity, axes and pca are computed when absent. */
  places?: Block;
  background?: Background;
  /** 0 where the map can be trusted, 1 where no data are, re-encoding does not come back, or the picture tears. */
  doubt?: Field;
  prior?: Density;
  posterior?: Density;
  snapshots?: Snapshots;
}

export interface Snapshots {
  steps: number[];
  /** Which items, if not all: (m,) int32; and their places (S, m, 2), on the map of the end. */
  items?: Block;
  places: Block;
  /** The plane decoded with the weights of each snapshot, null where these were not kept. */
  backgrounds?: (Background | null)[];
  /** How codes of then are placed, where that has to be said. */
  note?: string;
  /** Why planes are missing, and what would keep them. */
  lacks?: string;
}

/** A network in the page, or at the address of the local server.
 *
 * onnx: a file with one input (N, ...) and outputs (N, ...): the decoder's items, the encoder's mean and, if it has one,
 * standard deviation. `units` are those of the file: values = (file's - shift) / scale along the last axis. `shape` is
 * that of an item in the file, where it is not the run's: of signals and volumes, which are rows here.
 * server: POST of N float32 rows, little-endian; the answer is N rows of values, or of mean and standard deviation.
 */
export type Network =
  | {
      kind: "onnx";
      model: Block;
      type?: "float32" | "float64";
      units?: { shift: number[]; scale: number[] };
      shape?: number[];
    }
  | { kind: "server"; url: string };

/** Runs a model, wherever it is. Codes and values are N rows in one array. */
export interface Decoder {
  readonly where: string;
  readonly decodes: boolean;
  readonly encodes: boolean;
  /** `soon`: before what waits already. */
  decode(codes: Float32Array, n: number, soon?: boolean): Promise<Float32Array>;
  encode(values: Float32Array, n: number, soon?: boolean): Promise<Codes>;
}
export interface Codes {
  mean: Float32Array;
  std: Float32Array;
}

export interface Options {
  /** Decoders to use instead of the data's networks, one for each run. */ decoders?: Decoder[];
}
