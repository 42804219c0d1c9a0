// One process of transport-system.test.ts: node transport-child.js MODE [PORT]
import { transport } from 'onehop/transport';

const [mode, port = '0'] = process.argv.slice(2);
const handlers = { open() {}, data() {}, drain() {}, end() {}, close() {} };

if (mode === 'listen') {
  try {
    const listener = await transport.listen({ port: Number(port) }, handlers, () => null);
    console.log(`listening ${listener.port}`);
  } catch (error) {
    console.log((error as { code: string }).code);
  }
} else {
  // Both ends of an idle connection and the listener, all ref'd or all unref'd.
  const unref = mode === 'unref';
  const accepting = {
    ...handlers,
    open(socket: { unref(): void }) {
      if (unref) socket.unref();
    },
  };
  const listener = await transport.listen({}, accepting, () => null);
  const connecting = {
    ...handlers,
    open(socket: { unref(): void }) {
      console.log('idle');
      if (unref) {
        socket.unref();
        listener.unref();
      }
    },
  };
  transport.connect({ port: listener.port }, connecting, null);
}
