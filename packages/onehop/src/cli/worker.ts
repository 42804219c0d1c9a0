/** A worker of `onehop serve`: does what its supervisor says and never outlives it. */
import { GatewayProcess } from './gateway-process.ts';
import { surviveClosedOutput, surviveFaults } from './last-resort.ts';
import type { FromWorker, ToWorker } from './worker-messages.ts';

let running: GatewayProcess | null = null;
let leaving = false;

const tell = (message: FromWorker, then?: () => void): void => {
  if (!process.connected) {
    then?.();
    return;
  }
  process.send!(message, undefined, undefined, () => then?.());
};

async function start(message: Extract<ToWorker, { type: 'start' }>): Promise<void> {
  try {
    const { config, descriptors } = message;
    running = new GatewayProcess(config, { reusePort: true, descriptors });
    await running.start();
    surviveFaults(running.faulted);
    tell({ type: 'listening' });
  } catch (error) {
    tell({ type: 'failed', message: (error as Error).message }, () => process.exit(1));
  }
}

async function leave(): Promise<void> {
  if (leaving) return;
  leaving = true;
  if (running === null) process.exit(0);
  try {
    await running.drain();
    tell({ type: 'leaving', snapshot: running.snapshot() }, () => process.exit(0));
  } catch (error) {
    running.faulted(error, 'the drain of a worker');
    process.exit(1);
  }
}

/** Who asked must not wait for an answer that threw. */
function failed(message: ToWorker, error: unknown): void {
  running?.faulted(error, `the answer to ${message.type}`);
  if (!('id' in message)) return;
  const value = message.type === 'apply' ? `a worker failed: ${(error as Error).message}` : null;
  tell({ type: 'answer', id: message.id, value });
}

async function onMessage(message: ToWorker): Promise<void> {
  switch (message.type) {
    case 'start':
      await start(message);
      return;
    case 'apply':
      tell({
        type: 'answer',
        id: message.id,
        value: (await running?.apply(message.config)) ?? null,
      });
      return;
    case 'snapshot':
      tell({ type: 'answer', id: message.id, value: running?.snapshot() ?? {} });
      return;
    case 'status':
      tell({ type: 'answer', id: message.id, value: running?.status(message.facts) ?? {} });
      return;
    case 'ready':
      tell({ type: 'answer', id: message.id, value: running?.isReady() ?? false });
      return;
    case 'reload-failed':
      running?.reloadFailed();
      return;
    case 'reopen':
      running?.reopenLogs();
      return;
    case 'drain':
      await leave();
  }
}

surviveClosedOutput();
process.on('message', (message) => {
  onMessage(message as ToWorker).catch((error) => failed(message as ToWorker, error));
});
tell({ type: 'hello' });
// The supervisor is gone, whatever happened to it.
process.on('disconnect', () => void leave());
process.on('SIGTERM', () => void leave());
// The terminal sends these to the whole group; the supervisor is the one to act.
for (const signal of ['SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
  process.on(signal, () => {});
}
