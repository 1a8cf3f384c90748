// The demo page: three models and the kernel check, each with the time that its stages take.

import { open } from './perceiver/index.js';

const $ = (selector, within = document) => within.querySelector(selector);
const milliseconds = (time) => `${time < 10 ? time.toFixed(1) : time.toFixed(0)} ms`;

// The page's address says how to run: ?device=cpu, ?worker=0.
const asked = new URLSearchParams(location.search);
const device = asked.get('device') ?? 'auto';
$('#device').value = device;
$('#device').onchange = ({ target }) => {
  location.search = new URLSearchParams({ ...Object.fromEntries(asked), device: target.value });
};

const opened = open({ device, worker: asked.get('worker') !== '0' });
opened.then(
  ({ name, device: kind }) => {
    const shown = name || 'a GPU that the browser does not name';
    $('#engine').textContent = `Running on ${kind === 'gpu' ? shown : 'the CPU, one thread'}.`;
  },
  (error) => fail($('#engine'), error),
);

function fail(place, error) {
  if (error.name === 'AbortError') return;
  place.textContent = String(error.message ?? error);
  place.classList.add('failed');
}

// A model that is loaded when it is first needed, with its progress in a section's status line.
function model(section, folder) {
  const status = $('.status', section);
  let loading;
  const load = async () => {
    const engine = await opened;
    const begin = performance.now();
    const loaded = await engine.load(`models/${folder}/`, {
      onProgress: (done, total) => {
        status.textContent = `Loading ${folder}: ${(done / 2 ** 20).toFixed(1)} of ${(total / 2 ** 20).toFixed(1)} MiB`;
      },
    });
    return { loaded, loadTime: performance.now() - begin, times: [] };
  };
  // Runs `work` with the model and says how long it took.
  return async (work) => {
    loading ??= load();
    try {
      const one = await loading;
      const begin = performance.now();
      const result = await work(one.loaded);
      one.times.push(performance.now() - begin);
      const [first, ...later] = one.times;
      const last = later.slice(-20).sort((a, b) => a - b);
      const median = last.length ? `, run ${milliseconds(last[last.length >> 1])} (median of ${last.length})` : '';
      status.classList.remove('failed');
      status.textContent = `load ${milliseconds(one.loadTime)}, first run ${milliseconds(first)}${median}`;
      return result;
    } catch (error) {
      fail(status, error);
      throw error;
    }
  };
}

// ---- optical flow ----

const flowSection = $('#flow');
const withFlow = model(flowSection, 'flow-tiny');
const [WIDTH, HEIGHT] = [128, 96];
const frameCanvas = $('#frame');
const frameContext = frameCanvas.getContext('2d', { willReadFrequently: true });
let stopFlow = () => {};

function grab(draw) {
  draw(frameContext);
  return frameContext.getImageData(0, 0, WIDTH, HEIGHT);
}

async function show(first, second) {
  const { picture } = await withFlow((flow) => flow.flow(first, second));
  $('#field').getContext('2d').putImageData(new ImageData(picture.data, picture.width), 0, 0);
}

// Draws frame after frame and shows the flow between neighbours, until it is stopped.
async function live(draw, ended = () => {}) {
  stopFlow();
  let going = true;
  stopFlow = () => {
    going = false;
    $('#stop').disabled = true;
    ended();
  };
  const stop = stopFlow;
  $('#stop').disabled = false;
  let before = grab(draw);
  try {
    while (going) {
      await new Promise(requestAnimationFrame);
      const now = grab(draw);
      await show(before, now);
      before = now;
    }
  } catch {
    stop();
  }
}

// Textured shapes that wander over a textured ground.
function moving() {
  const texture = (hue) => {
    const canvas = new OffscreenCanvas(WIDTH * 2, HEIGHT * 2);
    const context = canvas.getContext('2d');
    for (let i = 0; i < 900; i++) {
      context.fillStyle = `hsl(${hue + 70 * Math.random()} ${30 + 50 * Math.random()}% ${20 + 60 * Math.random()}%)`;
      context.fillRect(Math.random() * 2 * WIDTH, Math.random() * 2 * HEIGHT, 12 * Math.random(), 12 * Math.random());
    }
    return canvas;
  };
  const [ground, shape] = [texture(90), texture(300)];
  let time = 0;
  return (context) => {
    time += 1;
    context.drawImage(ground, -40 + 25 * Math.sin(time / 40), -30 + 15 * Math.cos(time / 31));
    context.save();
    context.beginPath();
    const [x, y] = [64 + 30 * Math.sin(time / 15), 48 + 22 * Math.sin(time / 11)];
    context.arc(x, y, 24, 0, 7);
    context.clip();
    context.drawImage(shape, x - 90, y - 70);
    context.restore();
  };
}

const sources = {
  moving: () => live(moving()),
  async camera() {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
    const video = Object.assign(document.createElement('video'), { srcObject: stream, muted: true });
    await video.play();
    const draw = (context) => context.drawImage(video, 0, 0, WIDTH, HEIGHT);
    await live(draw, () => stream.getTracks().forEach((track) => track.stop()));
  },
};
for (const button of flowSection.querySelectorAll('[data-source]')) {
  button.onclick = () => sources[button.dataset.source]().catch((error) => fail($('.status', flowSection), error));
}
$('#stop').onclick = () => stopFlow();
$('#pictures').onchange = async ({ target }) => {
  stopFlow();
  const status = $('.status', flowSection);
  if (target.files.length !== 2) {
    fail(status, new Error('choose two pictures: a frame and the next one'));
    return;
  }
  try {
    const pictures = await Promise.all([...target.files].map((file) => createImageBitmap(file)));
    const frames = pictures.map((picture) => grab((context) => context.drawImage(picture, 0, 0, WIDTH, HEIGHT)));
    frameContext.putImageData(frames[0], 0, 0);
    await show(...frames);
  } catch (error) {
    fail(status, error);
  }
};

// ---- masked text ----

const textSection = $('#text');
const withText = model(textSection, 'text-tiny');
const area = $('textarea', textSection);
let typing;

async function fill() {
  typing?.abort();
  typing = new AbortController();
  const { signal } = typing;
  const output = $('output', textSection);
  const text = area.value;
  if (!text.includes('_')) {
    output.textContent = text;
    return;
  }
  try {
    const filled = await withText((model) =>
      model.fillMask(text.replaceAll('_', '[MASK]'), { mostCertainFirst: true, top: 3, signal }),
    );
    if (signal.aborted) return;
    const bytes = filled.spans.flatMap((span) => span.bytes);
    output.replaceChildren(
      ...text.split('_').flatMap((part, i) => {
        const guess = i && bytes[i - 1];
        if (!guess) return [part];
        const mark = document.createElement('mark');
        mark.textContent = String.fromCharCode(guess.byte);
        mark.title = guess.top.map(({ name, probability }) => `${name} ${(100 * probability).toFixed(0)} %`).join(', ');
        return [mark, part];
      }),
    );
  } catch {
    // The status line says what went wrong.
  }
}
area.oninput = fill;

// ---- a drawing ----

const drawingSection = $('#drawing');
const withShapes = model(drawingSection, 'shapes-tiny');
const board = $('canvas', drawingSection);
const pen = board.getContext('2d', { willReadFrequently: true });
let classifying = false;
let drawnSince = false;

function clear() {
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, board.width, board.height);
  Object.assign(pen, { lineWidth: 16, lineCap: 'round', lineJoin: 'round', strokeStyle: '#123a7a' });
  $('ol', drawingSection).replaceChildren();
}

async function classify() {
  drawnSince = true;
  if (classifying) return;
  classifying = true;
  try {
    while (drawnSince) {
      drawnSince = false;
      const picture = pen.getImageData(0, 0, board.width, board.height);
      const classes = await withShapes((shapes) => shapes.classify(picture, { top: 5 }));
      $('ol', drawingSection).replaceChildren(
        ...classes.map(({ label, probability }) => {
          const item = document.createElement('li');
          const bar = Object.assign(document.createElement('meter'), { value: probability });
          item.append(`${label} ${(100 * probability).toFixed(0)} %`, bar);
          return item;
        }),
      );
    }
  } catch {
    // The status line says what went wrong.
  } finally {
    classifying = false;
  }
}

const at = ({ offsetX, offsetY }) => [
  (offsetX * board.width) / board.clientWidth,
  (offsetY * board.height) / board.clientHeight,
];
board.onpointerdown = (event) => {
  board.setPointerCapture(event.pointerId);
  pen.beginPath();
  pen.moveTo(...at(event));
};
board.onpointermove = (event) => {
  if (!(event.buttons & 1)) return;
  pen.lineTo(...at(event));
  pen.stroke();
  classify();
};
$('#clear').onclick = clear;
clear();

// ---- the kernel check ----

const checkSection = $('#check');
let checking;
let table = [];

$('#start').onclick = async () => {
  if (checking) {
    checking.abort();
    return;
  }
  checking = new AbortController();
  const status = $('.status', checkSection);
  const body = $('tbody', checkSection);
  $('#start').textContent = 'Stop';
  $('#copy').disabled = true;
  body.replaceChildren();
  status.classList.remove('failed');
  table = [];
  const seed = Date.now() % 2 ** 32;
  let failed = 0;
  try {
    const engine = await opened;
    const seconds = Number($('#seconds').value) || 20;
    for await (const row of engine.check({ seconds, seed, signal: checking.signal })) {
      const cells = [row.kernel, row.shape, row.variant, row.error.toExponential(1), row.tolerance.toExponential(1), row.passed ? 'pass' : row.failure ?? 'FAIL'];
      table.push(cells);
      failed += !row.passed;
      const line = document.createElement('tr');
      line.classList.toggle('failed', !row.passed);
      line.append(...cells.map((cell) => Object.assign(document.createElement('td'), { textContent: cell })));
      // What failed stays in sight.
      if (row.passed) body.append(line);
      else body.prepend(line);
      status.textContent = `${table.length - failed} of ${table.length} passed on ${engine.name || 'this GPU'} (seed ${seed})`;
    }
  } catch (error) {
    fail(status, error);
  }
  status.classList.toggle('failed', failed > 0);
  checking = undefined;
  $('#start').textContent = 'Check';
  $('#copy').disabled = table.length === 0;
};
$('#copy').onclick = async () => {
  const lines = [['kernel', 'shape', 'variant', 'error', 'allowed', 'result'], ...table];
  const text = [$('.status', checkSection).textContent, navigator.userAgent, ...lines.map((line) => line.join('\t'))];
  await navigator.clipboard.writeText(text.join('\n'));
  $('#copy').textContent = 'Copied';
  setTimeout(() => ($('#copy').textContent = 'Copy the table'), 1500);
};

fill();
