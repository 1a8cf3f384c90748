// Files of models: fetched with progress, and kept in the browser's Cache storage.

const CACHE = 'perceiver-models';

// Has `weights`, which `begin(length)` makes, take the bytes of a file; gives them back. `tell(done, total)` hears of the
// download; total is 0 where the server does not say. What is kept is checked by the length that the server gave for it.
export async function fetchWeights(url, begin, { keep = true, signal, tell = () => {} } = {}) {
  const cache = keep && globalThis.caches ? await caches.open(CACHE).catch(() => null) : null;
  const kept = await cache?.match(url);
  if (kept) {
    const blob = await kept.blob();
    if (blob.size === Number(kept.headers.get('x-length'))) return take(url, blob.stream(), blob.size, begin, tell);
    await cache.delete(url);
  }
  const answer = await fetch(url, { signal });
  if (!answer.ok) {
    throw new Error(`cannot fetch ${url}: the server answers ${answer.status} ${answer.statusText}`.trimEnd());
  }
  // The length is that of what was sent, which is not what arrives where it was compressed.
  const total = answer.headers.has('content-encoding') ? 0 : Number(answer.headers.get('content-length'));
  const parts = [];
  const weights = await take(url, answer.body, total, begin, tell, (part) => cache && parts.push(part));
  const file = new Blob(parts);
  // A full disk is no reason not to run.
  await cache?.put(url, new Response(file, { headers: { 'x-length': String(file.size) } })).catch(() => {});
  return weights;
}

// Has weights take what a stream brings.
async function take(url, stream, total, begin, tell, also = () => {}) {
  const weights = begin(total);
  try {
    let done = 0;
    for (const reader = stream.getReader(); ;) {
      const { value, done: over } = await reader.read();
      if (over) {
        if (total && done !== total) throw new Error(`cannot fetch ${url}: ${done} of ${total} bytes came`);
        return weights;
      }
      weights.push(value);
      also(value);
      done += value.length;
      tell(done, total);
    }
  } catch (error) {
    weights.free();
    throw error;
  }
}

// The text of a file; `undefined` where there is none and it may be missing.
export async function fetchText(url, { optional = false, signal } = {}) {
  const answer = await fetch(url, { signal });
  if (optional && answer.status === 404) return undefined;
  if (!answer.ok) throw new Error(`cannot fetch ${url}: the server answers ${answer.status}`);
  return answer.text();
}

// Forgets all models that are kept.
export const forget = () => caches.delete(CACHE);
