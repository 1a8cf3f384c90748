// Files of models: fetched with progress, and kept in the browser's Cache storage.

const CACHE = 'perceiver-models';

// The bytes of a file. `tell(done, total)` hears of the download; total is 0 where the server does not say.
// What is kept is checked by the length that the server gave for it.
export async function fetchBytes(url, { keep = true, signal, tell = () => {} } = {}) {
  const cache = keep && globalThis.caches ? await caches.open(CACHE).catch(() => null) : null;
  const kept = await cache?.match(url);
  if (kept) {
    const bytes = new Uint8Array(await kept.arrayBuffer());
    if (bytes.length === Number(kept.headers.get('x-length'))) {
      tell(bytes.length, bytes.length);
      return bytes;
    }
    await cache.delete(url);
  }
  const answer = await fetch(url, { signal });
  if (!answer.ok) {
    throw new Error(`cannot fetch ${url}: the server answers ${answer.status} ${answer.statusText}`.trimEnd());
  }
  // The length is that of what was sent, which is not what arrives where it was compressed.
  const total = answer.headers.has('content-encoding') ? 0 : Number(answer.headers.get('content-length'));
  const parts = [];
  let done = 0;
  for (let reader = answer.body.getReader(); ;) {
    const { value, done: over } = await reader.read();
    if (over) break;
    parts.push(value);
    done += value.length;
    tell(done, total);
  }
  if (total && done !== total) {
    throw new Error(`cannot fetch ${url}: ${done} of ${total} bytes came`);
  }
  const bytes = new Uint8Array(done);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  // A full disk is no reason not to run.
  await cache?.put(url, new Response(bytes, { headers: { 'x-length': String(done) } })).catch(() => {});
  return bytes;
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
