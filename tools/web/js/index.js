// Perceiver models in the browser. See index.d.ts for what everything takes and gives.

export { forget } from './store.js';

// Bytes of weights that are copied at a time.
const PART = 2 ** 22;
// Bytes of pictures that are not read in one breath with others.
const LARGE = 2 ** 20;

// Lets the page draw, which promises alone would not.
const drawn = () => new Promise((resolve) => setTimeout(resolve));

// Opens the engine, in a worker unless `worker` is false. The CPU always has one: it would keep the page for a whole run.
export async function open({ device = 'auto', worker = true } = {}) {
  const line = worker || device === 'cpu' ? workerLine() : await pageLine();
  try {
    const { number, name, device: kind, rows } = await line.call('open', { device });
    if (worker || kind === 'gpu' || device === 'cpu') return new Engine(line, number, name, kind, rows);
  } catch (error) {
    line.close();
    throw error;
  }
  return open({ device: 'cpu' });
}

// Calls that a worker answers.
function workerLine() {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  const calls = new Map();
  let next = 1;
  const fail = (message) => {
    for (const { reject } of calls.values()) reject(new Error(message));
    calls.clear();
  };
  worker.onerror = (event) => fail(`the engine's worker failed: ${event.message ?? 'it could not be loaded'}`);
  worker.onmessage = ({ data: { id, result, error, done, total } }) => {
    const call = calls.get(id);
    if (!call) return;
    if (total !== undefined) {
      call.tell(done, total);
      return;
    }
    calls.delete(id);
    if (error) call.reject(Object.assign(new Error(error.message), { name: error.name }));
    else call.resolve(result);
  };
  return {
    call(method, args, { onProgress = () => {}, signal } = {}) {
      const id = next++;
      return new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => worker.postMessage({ method: 'cancel', args: id }));
        calls.set(id, { resolve, reject, tell: onProgress });
        worker.postMessage({ id, method, args });
        if (signal?.aborted) worker.postMessage({ method: 'cancel', args: id });
      });
    },
    close() {
      worker.terminate();
      fail('the engine is closed');
    },
  };
}

// Calls on the page's own thread, for pages that share its GPU device or cannot have workers.
async function pageLine() {
  const { Host } = await import('./host.js');
  const host = new Host();
  let next = 1;
  return {
    call(method, args, { onProgress = () => {}, signal } = {}) {
      const id = next++;
      signal?.addEventListener('abort', () => host.cancel(id));
      const called = host.call(id, method, args, onProgress);
      if (signal?.aborted) host.cancel(id);
      return called;
    },
    close() {},
  };
}

class Engine {
  #line;
  #number;

  constructor(line, number, name, device, rows) {
    this.#line = line;
    this.#number = number;
    this.name = name;
    this.device = device;
    this.kernelRows = rows;
  }

  async load(from, { onProgress, signal, precision, keep = true } = {}) {
    if (typeof from === 'string' || from instanceof URL) from = { url: new URL(from, document.baseURI).href };
    const { weights, ...files } = from;
    if (weights) files.weights = await this.#send(weights, signal);
    const args = { engine: this.#number, from: files, options: { precision, keep } };
    const { number, name, size } = await this.#line.call('load', args, { onProgress, signal });
    return new Model(this.#line, number, name, size);
  }

  // Has the engine take bytes; gives the number of what took them.
  async #send(bytes, signal) {
    const weights = await this.#line.call('weights', { length: bytes.length }, { signal });
    try {
      for (let from = 0; from < bytes.length; from += PART) {
        signal?.throwIfAborted();
        await this.#line.call('push', { weights, part: bytes.slice(from, from + PART) });
        await drawn();
      }
    } catch (error) {
      await this.#line.call('free', { number: weights });
      throw error;
    }
    return weights;
  }

  async *check({ seconds = 30, seed = Date.now() % 2 ** 32, signal } = {}) {
    // In an order that shows something of every kernel early on.
    const end = performance.now() + 1000 * seconds;
    const step = Math.max(1, Math.floor(this.kernelRows * 0.381966));
    const stride = coprime(step, this.kernelRows);
    for (let i = 0; i < this.kernelRows && performance.now() < end; i++) {
      const index = (i * stride) % this.kernelRows;
      const args = { engine: this.#number, index, options: { seed } };
      yield* await this.#line.call('checkRow', args, { signal });
    }
  }

  close() {
    this.#line.close();
  }
}

function coprime(from, of) {
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  let number = from;
  while (divisor(number, of) !== 1) number++;
  return number;
}

class Model {
  #line;
  #number;

  constructor(line, number, name, size) {
    this.#line = line;
    this.#number = number;
    this.name = name;
    this.size = size;
  }

  #call(method, args, options) {
    return this.#line.call(method, { model: this.#number, ...args }, options);
  }

  run(inputs, options) {
    return this.#call('run', { inputs }, options);
  }

  async flow(first, second, { longest, ...options } = {}) {
    first = await pixels(first);
    // Large ones take a while.
    if (first.data.length > LARGE) await drawn();
    const args = { first, second: await pixels(second), options: { longest } };
    return this.#call('flow', args, options);
  }

  fillMask(text, { top, mostCertainFirst, ...options } = {}) {
    return this.#call('fillMask', { text, options: { top, mostCertainFirst } }, options);
  }

  async classify(what, { top, ...options } = {}) {
    if (typeof what !== 'string') what = await pixels(what);
    return this.#call('classify', { what, options: { top } }, options);
  }

  async encode(inputs, options) {
    const { number, latents, outputs } = await this.#call('encode', { inputs }, options);
    return new Decoded(this.#line, number, latents, outputs);
  }

  free() {
    return this.#line.call('free', { number: this.#number });
  }
}

class Decoded {
  #line;
  #number;

  constructor(line, number, latents, outputs) {
    this.#line = line;
    this.#number = number;
    this.latents = latents;
    this.outputs = outputs;
  }

  async *decode(output, { from = 0, to, chunk = 4096, content, ...options } = {}) {
    const known = this.outputs.find(({ name }) => name === output);
    const end = to ?? known?.queries ?? from;
    for (let at = from; at < end || (at === from && !known); at += chunk) {
      const args = { decoded: this.#number, output, from: at, to: Math.min(end, at + chunk) };
      if (content) args.content = content(at, args.to);
      const rows = await this.#line.call('decode', args, options);
      yield { from: at, to: args.to, rows };
    }
  }

  free() {
    return this.#line.call('free', { number: this.#number });
  }
}

// The bytes of a picture, whatever holds it.
async function pixels(picture) {
  if (picture?.data) return { width: picture.width, height: picture.height, data: picture.data };
  const width = picture.videoWidth ?? picture.naturalWidth ?? picture.displayWidth ?? picture.width;
  const height = picture.videoHeight ?? picture.naturalHeight ?? picture.displayHeight ?? picture.height;
  if (!width || !height) throw new TypeError('the picture has no pixels yet: wait until it is loaded');
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(picture, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, data };
}
