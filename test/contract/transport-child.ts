// One process of transport-system.test.ts: node transport-child.js MODE [PORT]
import type { OnehopError } from 'onehop/core';
import { type Socket, transport } from 'onehop/transport';

const [mode, port = '0'] = process.argv.slice(2);
const handlers = { open() {}, data() {}, drain() {}, end() {}, close() {} };

if (mode === 'listen') {
  try {
    const listener = await transport.listen({ port: Number(port) }, handlers, () => null);
    console.log(`listening ${listener.port}`);
  } catch (error) {
    console.log((error as { code: string }).code);
  }
} else if (mode === 'call') {
  // Callers that connect without a pause until the input ends; then what they got is told.
  const tally: Record<string, number> = { answered: 0 };
  let calling = 400;
  let over = false;
  const call = (): void => {
    let answered = false;
    const caller = {
      ...handlers,
      open: (socket: Socket<null>) => void socket.writeLatin1('hello'),
      data(socket: Socket<null>) {
        answered = true;
        socket.destroy();
      },
      close(_socket: Socket<null>, error: OnehopError | null) {
        const end = answered ? 'answered' : (error?.code ?? 'closed');
        tally[end] = (tally[end] ?? 0) + 1;
        if (!over) call();
        else if (--calling === 0) console.log(JSON.stringify(tally));
      },
    };
    transport.connect({ port: Number(port) }, caller, null);
  };
  for (let i = 0; i < calling; i++) call();
  console.log('calling');
  process.stdin.resume().once('end', () => {
    over = true;
  });
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
