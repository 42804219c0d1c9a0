/** Gateways for tests: on a free port, with limits from the test, checked for leaks at the end. */
import assert from 'node:assert/strict';
import {
  createGateway,
  type Gateway,
  type GatewayConfigInput,
  type GatewayObserver,
  silentObserver,
} from 'onehop/gateway';
import { transport } from 'onehop/transport';
import { RawServer, type RawServerHooks, type Script } from '../support/raw-server.ts';
import { parseFirstResponse } from './conformance.ts';
import { RawClient } from './raw-client.ts';

export type GatewayInput = Omit<GatewayConfigInput, 'listen'>;

export const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Waits until `done` holds; false after `timeoutMs`, which only a test that fails waits for: many
 * times what a machine at rest takes, a fraction of what the gateway's own deadlines are.
 */
export async function until(done: () => boolean, timeoutMs = 10_000): Promise<boolean> {
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

/** The upstream of {@link simple}. */
export const upstreamOf = (rig: Pick<Rig, 'gateway'>): Upstream =>
  rig.gateway.tables.upstreams.get('up')!;
type Upstream = NonNullable<ReturnType<Gateway['tables']['upstreams']['get']>>;

/** Every gauge that belongs to exchanges, by name; all are 0 while no request is under way. */
export function gauges(gateway: Gateway): Record<string, number> {
  const found: Record<string, number> = {
    exchangesOpen: gateway.server.counters.exchangesOpen,
    scanBytes: gateway.scans.bytes,
  };
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
  // Before the wait in a queue is over (5 s), so that no deadline does what a cancel should have done.
  await until(() => Object.values(gauges(gateway)).every((value) => value === 0), 4000);
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
      try {
        if (gateway.ready) await assertGaugesZero(gateway);
      } finally {
        await gateway.close({ graceMs: 0, announceMs: 0 });
      }
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

/** Starts servers that follow `scripts`, runs `body` with them and their ports, closes them. */
export async function withServers(
  scripts: readonly (Script | RawServerHooks)[],
  body: (servers: RawServer[], ports: number[]) => Promise<void>,
): Promise<void> {
  const servers = scripts.map((script) => new RawServer(script));
  for (const server of servers) await server.listen(transport);
  try {
    await body(
      servers,
      servers.map(({ port }) => port),
    );
  } finally {
    for (const server of servers) await server.close();
  }
}

/** Sends one request on a connection of its own and waits for the answer or the end. */
export async function ask(
  port: number,
  request: string | Buffer = 'GET / HTTP/1.1\r\nHost: t\r\n\r\n',
  waitMs = 10_000,
) {
  const client = await RawClient.open(port);
  client.send(request);
  const isHead = request.toString().startsWith('HEAD');
  const response = () => parseFirstResponse(client.received, isHead);
  await client.until(() => client.ended || response()?.complete === true, waitMs);
  const got = response();
  client.close();
  return {
    status: got?.status ?? 0,
    fields: new Map(got?.fields ?? []),
    body: got?.body.toString('latin1') ?? '',
    complete: got?.complete ?? false,
  };
}
