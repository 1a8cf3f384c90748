// The engine where it runs: in a worker, or on the page's own thread. Calls come by name with plain arguments and
// give plain results, so that both are one. What is made stays here, under a number.

import init, { Engine, RunControl, Weights } from './perceiver_web.js';
import { fetchText, fetchWeights } from './store.js';

// How often a run tells how far it is, in milliseconds.
const TELL = 50;

export class Host {
  #things = new Map();
  #next = 1;
  #controls = new Map();
  // Models of one engine share a GPU: their runs go one after the other, in the order of the calls.
  #turn = Promise.resolve();

  // Calls a method; `tell` hears of its progress. `id` names the call for `cancel`.
  async call(id, method, args, tell) {
    const control = new AbortController();
    this.#controls.set(id, { abort: () => control.abort() });
    try {
      await init();
      return await this[method](args, { id, tell, signal: control.signal });
    } finally {
      this.#controls.delete(id);
    }
  }

  // Ends a call that is under way.
  cancel(id) {
    this.#controls.get(id)?.abort();
  }

  #keep(thing) {
    this.#things.set(this.#next, thing);
    return this.#next++;
  }

  #thing(number) {
    const thing = this.#things.get(number);
    if (!thing) throw new Error('it has been freed, or its engine is closed');
    return thing;
  }

  // Runs when those before have ended, under a control that the call's signal cancels.
  #run({ signal, tell }, work) {
    const before = this.#turn;
    const run = (async () => {
      await before;
      const control = new RunControl();
      const cancel = () => control.cancel();
      if (signal.aborted) cancel();
      signal.addEventListener('abort', cancel);
      const timer = setInterval(() => tell(...control.progress()), TELL);
      try {
        return await work(control);
      } finally {
        clearInterval(timer);
        signal.removeEventListener('abort', cancel);
        control.free();
      }
    })();
    this.#turn = run.catch(() => {});
    return run;
  }

  async open({ device }) {
    const engine = await Engine.open(device);
    const name = (engine.device === 'gpu' && (await adapterName())) || engine.name;
    return { number: this.#keep(engine), name, device: engine.device, rows: engine.kernelRows() };
  }

  // Weights that come part by part.
  weights({ length }) {
    return this.#keep(new Weights(length));
  }

  push({ weights, part }) {
    this.#thing(weights).push(part);
  }

  async load({ engine, from, options }, { tell, signal }) {
    let { config, processor } = from;
    let weights = this.#take(from.weights);
    if (from.url) {
      const base = from.url.endsWith('/') ? from.url : `${from.url}/`;
      const file = (name) => new URL(name, base).href;
      [config, processor] = await Promise.all([
        fetchText(file('config.json'), { signal }),
        fetchText(file('preprocessor_config.json'), { optional: true, signal }),
      ]);
      const begin = (length) => new Weights(length);
      weights = await fetchWeights(file('model.safetensors'), begin, { keep: options.keep, signal, tell });
    }
    const model = this.#thing(engine).load(config, weights, processor, options);
    return { number: this.#keep(model), name: model.name, size: model.size && [...model.size] };
  }

  run({ model, inputs }, call) {
    return this.#run(call, (control) => this.#thing(model).run(inputs, control));
  }

  flow({ model, first, second, options }, call) {
    return this.#run(call, (control) => this.#thing(model).flow(first, second, options, control));
  }

  fillMask({ model, text, options }, call) {
    return this.#run(call, (control) => this.#thing(model).fillMask(text, options, control));
  }

  classify({ model, what, options }, call) {
    return this.#run(call, (control) => this.#thing(model).classify(what, options, control));
  }

  encode({ model, inputs }, call) {
    return this.#run(call, async (control) => {
      const decoded = await this.#thing(model).encode(inputs, control);
      return { number: this.#keep(decoded), latents: decoded.latents, outputs: decoded.outputs };
    });
  }

  decode({ decoded, output, from, to, content }, call) {
    return this.#run(call, () => this.#thing(decoded).decode(output, from, to, content));
  }

  checkRow({ engine, index, options }, call) {
    return this.#run(call, () => this.#thing(engine).checkRow(index, options));
  }

  free({ number }) {
    this.#take(number)?.free();
  }

  #take(number) {
    const thing = this.#things.get(number);
    this.#things.delete(number);
    return thing;
  }
}

// What the browser tells of its adapter.
async function adapterName() {
  const info = (await navigator.gpu?.requestAdapter())?.info;
  return info?.description || [info?.vendor, info?.architecture].filter(Boolean).join(' ');
}

// The buffers of a result that may move to another thread rather than be copied.
export function buffersOf(value, found = new Set()) {
  if (ArrayBuffer.isView(value)) found.add(value.buffer);
  else if (value && typeof value === 'object') Object.values(value).forEach((part) => buffersOf(part, found));
  return [...found];
}
