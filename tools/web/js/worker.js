// The engine in a worker: calls come as messages and are answered by messages.

import { Host, buffersOf } from './host.js';

const host = new Host();

self.onmessage = async ({ data: { id, method, args } }) => {
  if (method === 'cancel') {
    host.cancel(args);
    return;
  }
  try {
    const result = await host.call(id, method, args, (done, total) => postMessage({ id, done, total }));
    postMessage({ id, result }, buffersOf(result));
  } catch (error) {
    postMessage({ id, error: { name: error?.name ?? 'Error', message: error?.message ?? String(error) } });
  }
};
