/** Gateways for tests: on a free port, with limits from the test, checked for leaks at the end. */
import assert from 'node:assert/strict';
import {
  createGateway,
  type Gateway,
  type GatewayConfigInput,
  type GatewayObserver,
  silentObserver,
} from 'onehop/gateway';

export type GatewayInput = Omit<GatewayConfigInput, 'listen'>;

export const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `done` holds; false after `timeoutMs`. */
export async function until(done: () => boolean, timeoutMs = 2000): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  while (!done()) {
    if (performance.now() >= endMs) return false;
    await pause(1);
  }
  return true;
}

export interface Rig {
  readonly gateway: Gateway;
  readonly port: number;
  /** Bugs that the gateway caught and reported; must stay empty. */
  readonly bugs: unknown[];
  /** Closes it and asserts that no gauge is left above zero. */
  close(): Promise<void>;
}

/** Every gauge that belongs to exchanges, by name; all are 0 while no request is under way. */
export function gauges(gateway: Gateway): Record<string, number> {
  const found: Record<string, number> = { exchangesOpen: gateway.server.counters.exchangesOpen };
  for (const [name, upstream] of gateway.tables.upstreams) {
    found[`${name}.pending`] = upstream.pending;
    found[`${name}.queue`] = upstream.queue.length;
    for (const [index, member] of upstream.members.entries()) {
      found[`${name}.${index}.pending`] = member.pending;
      found[`${name}.${index}.active`] = member.origin.stats().active;
    }
  }
  return found;
}

export async function assertGaugesZero(gateway: Gateway): Promise<void> {
  await until(() => Object.values(gauges(gateway)).every((value) => value === 0), 1000);
  const left = Object.entries(gauges(gateway)).filter(([, value]) => value !== 0);
  assert.deepEqual(left, [], 'gauges did not return to zero');
}

export async function startGateway(
  input: GatewayInput,
  hear: Partial<GatewayObserver> = {},
): Promise<Rig> {
  const bugs: unknown[] = [];
  const observer: GatewayObserver = {
    ...silentObserver,
    ...hear,
    onInternalError: (error) => bugs.push(error),
  };
  const gateway = createGateway({ ...input, listen: '127.0.0.1:0' }, { observer });
  const rig: Rig = {
    gateway,
    port: (await gateway.listen())[0]!.port,
    bugs,
    async close() {
      if (gateway.ready) await assertGaugesZero(gateway);
      await gateway.close({ graceMs: 0, announceMs: 0 });
      assert.deepEqual(bugs, []);
    },
  };
  return rig;
}

/** Runs `body` with a gateway that is closed afterwards, whatever happens. */
export async function withGateway(
  input: GatewayInput,
  body: (rig: Rig) => Promise<void>,
  hear: Partial<GatewayObserver> = {},
): Promise<void> {
  const rig = await startGateway(input, hear);
  try {
    await body(rig);
  } catch (error) {
    await rig.gateway.close({ graceMs: 0, announceMs: 0 });
    throw error;
  }
  await rig.close();
}

/** One route for everything to one upstream of these targets. */
export function simple(
  ports: readonly number[],
  upstream: Record<string, unknown> = {},
  more: Partial<GatewayInput> & { route?: Record<string, unknown> } = {},
): GatewayInput {
  const { route = {}, ...rest } = more;
  return {
    upstreams: {
      up: { targets: ports.map((port) => `http://127.0.0.1:${port}`), ...upstream },
    },
    routes: [{ path: '/*', upstream: 'up', ...route }],
    ...rest,
  } as GatewayInput;
}
