/**
 * Gateways in a network whose clock is ours. What hangs on deadlines that meet, or on two things that
 * happen milliseconds apart, is exact here, however busy the machine is; that the deadlines come on
 * the real clock too is for the tests of each of them.
 */
import assert from 'node:assert/strict';
import type { Clock } from 'onehop/core';
import { createGateway, type Gateway, type GatewayObserver, silentObserver } from 'onehop/gateway';
import { createSimTransport } from 'onehop/transport/sim';
import { ByteClient, simRig } from '../contract/server-rig.ts';
import { RawServer, type RawServerHooks, type Script } from '../support/raw-server.ts';
import { parseFirstResponse } from './conformance.ts';
import { type GatewayInput, gauges } from './gateway-rig.ts';

/** A caller that counts what came in reads of its own. */
export class SimClient extends ByteClient {
  /** Each read, as it came. */
  readonly reads: string[] = [];
}

export interface SimAnswer {
  status: number;
  fields: Map<string, string>;
  body: string;
  complete: boolean;
}

export interface SimRig {
  readonly gateway: Gateway;
  readonly servers: readonly RawServer[];
  readonly clock: Clock;
  /** Lets time pass until `done` holds; false when it does not within so many of our milliseconds. */
  until(done: () => boolean, timeoutMs?: number): Promise<boolean>;
  pause(ms: number): Promise<void>;
  open(): SimClient;
  /** Sends one request on a connection of its own and waits for the answer or the end. */
  ask(request: string): Promise<SimAnswer>;
}

/**
 * Ten streams in turn, each of what begins it and parts so many ms later, the last of which are `[DONE]`
 * and the terminator: both must reach the caller in one read.
 */
export async function checkTail(
  begin: string,
  parts: readonly (readonly [text: string, afterMs: number])[],
  configure: (ports: number[]) => GatewayInput,
  request: string,
  check: (client: SimClient) => void = () => {},
): Promise<void> {
  let later = (_run: () => void, _ms: number): void => {};
  const script: Script = (peer) => {
    peer.send(begin);
    for (const [text, afterMs] of parts) later(() => peer.send(text), afterMs);
  };
  await withSimGateway([script], configure, async (rig) => {
    later = (run, ms) => void rig.clock.setTimer(run, ms);
    for (let i = 0; i < 10; i++) {
      const client = rig.open();
      client.send(request);
      assert.ok(await rig.until(() => client.text.endsWith('0\r\n\r\n')), client.text);
      const last = client.reads.at(-1)!;
      assert.ok(last.includes('[DONE]') && last.endsWith('\r\n0\r\n\r\n'), last);
      check(client);
    }
  });
}

/** Runs `body` with a gateway in front of servers that follow `scripts`, in simulated time. */
export async function withSimGateway(
  scripts: readonly (Script | RawServerHooks)[],
  configure: (ports: number[]) => GatewayInput,
  body: (rig: SimRig) => Promise<void>,
  hear: Partial<GatewayObserver> = {},
): Promise<void> {
  const sim = createSimTransport({
    seed: 7,
    latencyMsMax: 0.1,
    splitChance: 0,
    partialWriteChance: 0,
  });
  const { clock } = sim;
  const { until } = simRig(sim);
  const servers = scripts.map((script) => new RawServer(script));
  for (const server of servers) await server.listen(sim);
  const bugs: unknown[] = [];
  const observer = {
    ...silentObserver,
    ...hear,
    onInternalError: (error: unknown) => bugs.push(error),
  };
  const input = configure(servers.map(({ port }) => port));
  const gateway = createGateway(
    { ...input, listen: '127.0.0.1:0' },
    { transport: sim, observer: observer as GatewayObserver },
  );
  const { port } = (await gateway.listen())[0]!;
  const clients: SimClient[] = [];
  const rig: SimRig = {
    gateway,
    servers,
    clock,
    until,
    async pause(ms) {
      let over = false;
      clock.setTimer(() => {
        over = true;
      }, ms);
      assert.ok(await until(() => over, ms + 1));
    },
    open() {
      const client = new SimClient();
      const handlers = {
        ...ByteClient.handlers,
        data(socket: typeof client.socket & object, bytes: Uint8Array) {
          client.reads.push(Buffer.from(bytes).toString('latin1'));
          ByteClient.handlers.data(socket, bytes);
        },
      };
      client.socket = sim.connect({ port }, handlers, client as ByteClient);
      clients.push(client);
      return client;
    },
    async ask(request) {
      const client = rig.open();
      client.send(request);
      const response = () => parseFirstResponse(client.bytes, request.startsWith('HEAD'));
      await until(() => client.ended || response()?.complete === true, 120_000);
      const got = response();
      client.socket!.destroy();
      return {
        status: got?.status ?? 0,
        fields: new Map(got?.fields ?? []),
        body: got?.body.toString('latin1') ?? '',
        complete: got?.complete ?? false,
      };
    },
  };
  await body(rig);
  for (const client of clients) if (!client.closed) client.socket!.destroy();
  const open = (): [string, number][] =>
    Object.entries(gauges(gateway)).filter(([, value]) => value !== 0);
  await until(() => open().length === 0);
  assert.deepEqual(open(), [], 'gauges did not return to zero');
  let closed = false;
  void gateway.close({ graceMs: 0, announceMs: 0, idleMs: 0 }).then(() => {
    closed = true;
  });
  assert.ok(await until(() => closed));
  for (const server of servers) void server.close();
  assert.deepEqual(bugs, []);
}
