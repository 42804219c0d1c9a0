/** Our fetch against the built-in one of Node: the same scenarios, the same outcomes. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Fetch, fetch as ownFetch } from 'onehop';
import { transport } from 'onehop/transport';
import { type RawPeer, RawServer } from '../support/raw-server.ts';
import { differences, differencesOnBun } from './fetch-differences.ts';
import { allScenarios, type Outcome, type Scenario, type Target } from './fetch-scenarios.ts';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
/** What Node 20's fetch does; written by this test when RECORD is set, read where Bun runs it. */
const recordFile = resolve(root, 'test/e2e/fetch-builtin.json');
const isNode = process.versions['bun'] === undefined;
const isRecordedNode = isNode && process.versions.node.startsWith('20.');
const record: Record<string, { builtIn: Outcome; own?: Outcome }> = existsSync(recordFile)
  ? JSON.parse(readFileSync(recordFile, 'utf8'))
  : {};

const servers: RawServer[] = [];
const lastPeers = new Map<number, RawPeer>();
let closedUrl = '';

async function start(): Promise<RawServer> {
  const server = new RawServer((peer, request) => {
    const index = Number(/^\/(\d+)/.exec(request.target)?.[1]);
    lastPeers.set(index, peer);
    allScenarios[index]!.serve(peer, request, targetOf(index));
  });
  await server.listen(transport);
  servers.push(server);
  return server;
}

function targetOf(index: number): Target {
  const [one, other] = servers.map((server) => `http://127.0.0.1:${server.port}/${index}`);
  return {
    url: one!,
    otherUrl: other!,
    closedUrl,
    isClosed: () => lastPeers.get(index)!.closed,
  };
}

before(async () => {
  await start();
  await start();
  const gone = await start();
  closedUrl = `http://127.0.0.1:${gone.port}/`;
  await gone.close();
  servers.pop();
});
after(async () => {
  await Promise.all(servers.map((server) => server.close()));
  if (process.env['RECORD']) {
    writeFileSync(recordFile, `${JSON.stringify(record, null, 1)}\n`);
  }
});

/** As JSON, ports and paths of this run masked. */
async function outcomeOf(scenario: Scenario, index: number, fetch: Fetch): Promise<Outcome> {
  const outcome = await scenario.run(fetch, targetOf(index));
  let text = JSON.stringify(outcome ?? null);
  servers.forEach((server, i) => {
    text = text.replaceAll(`:${server.port}`, `:PORT${i}`);
  });
  return JSON.parse(text.replaceAll(`/${index}"`, '/N"').replaceAll(`/${index}?`, '/N?'));
}

for (const [index, scenario] of allScenarios.entries()) {
  test(`fetch: ${scenario.name}`, { timeout: 20_000 }, async () => {
    const own = await outcomeOf(scenario, index, ownFetch);
    let expected: Outcome;
    if (isRecordedNode) {
      expected = await outcomeOf(scenario, index, globalThis.fetch as Fetch);
      if (process.env['RECORD']) {
        record[scenario.name] =
          scenario.name in differences ? { builtIn: expected, own } : { builtIn: expected };
      }
    }
    const recorded = record[scenario.name];
    assert.ok(recorded, 'not recorded: run this test with RECORD=1 on Node 20');
    expected ??= recorded.builtIn;
    assert.deepEqual(expected, recorded.builtIn, 'the built-in fetch changed: record it again');
    if (!isNode && scenario.name in differencesOnBun) {
      assert.notDeepEqual(own, expected, 'no difference any more: take it off the list');
    } else if (scenario.name in differences) {
      assert.notDeepEqual(own, recorded.builtIn, 'no difference any more: take it off the list');
      assert.deepEqual(own, recorded.own);
    } else assert.deepEqual(own, expected);
  });
}

test('every listed difference names a scenario', () => {
  const names = new Set(allScenarios.map((scenario) => scenario.name));
  assert.equal(names.size, allScenarios.length, 'two scenarios have the same name');
  assert.deepEqual(
    [...Object.keys(differences), ...Object.keys(differencesOnBun)].filter(
      (name) => !names.has(name),
    ),
    [],
  );
});
