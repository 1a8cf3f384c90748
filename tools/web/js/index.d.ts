/** Perceiver models in the browser, on WebGPU or the CPU. */

/** A dense array, its last axis fastest. Whole numbers such as token ids are 64-bit, or 32-bit on the way in; frames are bytes. */
export interface Tensor {
  shape: number[];
  data: Float32Array | BigInt64Array | Int32Array | Uint8Array;
}

/** Tensors by name. */
export type Tensors = Record<string, Tensor>;

/** Whatever has pixels: `ImageData` and its like, or what a canvas can draw. */
export type Picture =
  | { width: number; height: number; data: Uint8ClampedArray | Uint8Array }
  | CanvasImageSource;

/** What every call may be given. */
export interface CallOptions {
  /** Hears how much of how much is done: bytes of a download, floating-point operations of a run. */
  onProgress?: (done: number, total: number) => void;
  /** Ends the call, which is then rejected with an `AbortError`. */
  signal?: AbortSignal;
}

export interface OpenOptions {
  /** "auto", which is the default: the GPU, or the CPU where the browser offers none. */
  device?: 'auto' | 'gpu' | 'cpu';
  /** Whether the engine runs in a worker, so that nothing of it is done on the page's thread. By default it does; the CPU always does. */
  worker?: boolean;
}

/** Opens the engine. Rejected where "gpu" is asked for and there is none. */
export function open(options?: OpenOptions): Promise<Engine>;

/** Forgets all models that the browser keeps. */
export function forget(): Promise<boolean>;

export interface LoadOptions extends CallOptions {
  /** How a GPU stores numbers; "f32" by default. */
  precision?: 'f32' | 'f16';
  /** Whether the browser keeps what was downloaded; by default it does. */
  keep?: boolean;
}

/** A model's files, in memory. */
export interface ModelFiles {
  /** The text of `config.json`. */
  config: string;
  /** The bytes of `model.safetensors`. */
  weights: Uint8Array;
  /** The text of `preprocessor_config.json`, for pictures. */
  processor?: string;
}

export interface Engine {
  /** The adapter's name as far as the browser tells it, or "cpu". */
  readonly name: string;
  readonly device: 'gpu' | 'cpu';
  /** Rows of the kernel table. */
  readonly kernelRows: number;
  /** A model from a folder of files behind an address, or from files in memory. */
  load(from: string | URL | ModelFiles, options?: LoadOptions): Promise<Model>;
  /** Checks this device's kernels against a reference in double precision, row by row, for so many seconds. */
  check(options?: { seconds?: number; seed?: number; signal?: AbortSignal }): AsyncIterable<KernelCheck>;
  /** Ends the worker, and whatever is under way in it. */
  close(): void;
}

export interface KernelCheck {
  kernel: string;
  shape: string;
  variant: string;
  /** Relative to the largest element. */
  error: number;
  tolerance: number;
  passed: boolean;
  failure: string | null;
}

export interface Flow {
  width: number;
  height: number;
  /** Two numbers for each pixel, row by row: pixels to the right, pixels down. */
  vectors: Float32Array;
  /** The flow as colours: `new ImageData(picture.data, picture.width)`. */
  picture: { width: number; height: number; data: Uint8ClampedArray };
}

export interface Filled {
  text: string;
  spans: {
    start: number;
    text: string;
    bytes: {
      position: number;
      byte: number;
      probability: number;
      top: { byte: number; name: string; probability: number }[];
    }[];
  }[];
}

export interface ClassScore {
  class: number;
  label: string;
  probability: number;
}

/** Runs of one engine go one after the other. */
export interface Model {
  /** The architecture. */
  readonly name: string;
  /** Height and width that a flow model was trained on, or of a classifier's pictures. */
  readonly size?: number[];
  run(inputs: Tensors, options?: CallOptions): Promise<Tensors>;
  /** `longest` is the motion in pixels that gets the strongest colour; by default the longest one there is. */
  flow(first: Picture, second: Picture, options?: CallOptions & { longest?: number }): Promise<Flow>;
  /** Fills every `[MASK]`, or `[MASK:7]` for seven bytes. */
  fillMask(text: string, options?: CallOptions & { top?: number; mostCertainFirst?: boolean }): Promise<Filled>;
  /** The best classes of a text or a picture. */
  classify(what: string | Picture, options?: CallOptions & { top?: number }): Promise<ClassScore[]>;
  /** Encode and process alone. */
  encode(inputs: Tensors, options?: CallOptions): Promise<Decoded>;
  free(): Promise<void>;
}

/** Latents, from which queries are decoded. */
export interface Decoded {
  readonly latents: Tensor;
  /** `channels` are those of the content that a query brings along, 0 for none. */
  readonly outputs: { name: string; queries: number; channels: number; columns: number }[];
  /** Decodes queries in chunks. `content` gives the rows `[to - from, channels]` that some queries bring along. */
  decode(
    output: string,
    options?: CallOptions & {
      from?: number;
      to?: number;
      chunk?: number;
      content?: (from: number, to: number) => Tensor;
    },
  ): AsyncIterable<{ from: number; to: number; rows: Tensor }>;
  free(): Promise<void>;
}
