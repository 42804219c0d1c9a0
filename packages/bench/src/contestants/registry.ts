/**
 * The list of contestants. A client's module is loaded only when it is asked for, so that the API
 * process of one contestant does not carry the memory and start-up cost of all the others.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ChatContestant, Contestant, Runtime } from './types.ts';

type Row<C> = readonly [runtimes: readonly Runtime[], load: () => Promise<{ contestant: C }>];

const node: readonly Runtime[] = ['node'];
const bun: readonly Runtime[] = ['bun'];
const both: readonly Runtime[] = ['node', 'bun'];

// Runtimes are repeated here so that a name can be refused without loading its client; a test keeps
// them equal to what the adapter says.
const rows: Record<string, Row<Contestant>> = {
  onehop: [both, () => import('./onehop.ts')],
  'onehop-fetch': [both, () => import('./onehop-fetch.ts')],
  'node-http': [both, () => import('./node-http.ts')],
  'node-http2': [both, () => import('./node-http2.ts')],
  fetch: [node, () => import('./fetch.ts')],
  'undici-request': [node, () => import('./undici-request.ts')],
  'undici-stream': [node, () => import('./undici-stream.ts')],
  'undici-dispatch': [node, () => import('./undici-dispatch.ts')],
  axios: [both, () => import('./axios.ts')],
  got: [both, () => import('./got.ts')],
  ky: [node, () => import('./ky.ts')],
  'node-fetch': [node, () => import('./node-fetch.ts')],
  superagent: [both, () => import('./superagent.ts')],
  needle: [both, () => import('./needle.ts')],
  ofetch: [node, () => import('./ofetch.ts')],
  'bun-fetch': [bun, () => import('./bun-fetch.ts')],
};

const chatRows: Record<string, Row<ChatContestant>> = {
  openai: [both, () => import('./chat/openai.ts')],
  'openai-onehop': [both, () => import('./chat/openai-onehop.ts')],
  'chat-fetch': [both, () => import('./chat/chat-fetch.ts')],
  'chat-onehop': [both, () => import('./chat/chat-onehop.ts')],
  'chat-undici': [node, () => import('./chat/chat-undici.ts')],
};

/** The runtime this process is. */
export function currentRuntime(): Exclude<Runtime, 'python'> {
  return process.versions['bun'] === undefined ? 'node' : 'bun';
}

function namesOf(table: Record<string, Row<unknown>>, runtime?: Runtime): string[] {
  const names = Object.keys(table);
  return runtime === undefined ? names : names.filter((name) => table[name]![0].includes(runtime));
}

async function load<C>(table: Record<string, Row<C>>, name: string): Promise<C | null> {
  if (!Object.hasOwn(table, name)) return null;
  return (await table[name]![1]()).contestant;
}

/** Names of all contestants that run on `runtime` (default: on any but Python), in table order. */
export function contestantNames(runtime?: Runtime): string[] {
  return namesOf(rows, runtime);
}

/** The same for the chat case. No name is in both. */
export function chatContestantNames(runtime?: Runtime): string[] {
  return namesOf(chatRows, runtime);
}

/** Loads one contestant and the client behind it; null when no contestant has that name. */
export function loadContestant(name: string): Promise<Contestant | null> {
  return load(rows, name);
}

/** The same for the chat case. */
export function loadChatContestant(name: string): Promise<ChatContestant | null> {
  return load(chatRows, name);
}

/** Loads every contestant, or those of one runtime. */
export async function loadContestants(runtime?: Runtime): Promise<Contestant[]> {
  const modules = contestantNames(runtime).map((name) => rows[name]![1]());
  return (await Promise.all(modules)).map((module) => module.contestant);
}

/** Loads every contestant of the chat case. */
export async function loadChatContestants(): Promise<ChatContestant[]> {
  const modules = chatContestantNames().map((name) => chatRows[name]![1]());
  return (await Promise.all(modules)).map((module) => module.contestant);
}

/** Version of an npm package as installed beside us; null when it is not installed. */
export function installedVersion(packageName: string): string | null {
  try {
    let dir = dirname(fileURLToPath(import.meta.resolve(packageName)));
    for (;;) {
      const file = join(dir, 'package.json');
      if (existsSync(file)) {
        const manifest = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
        if (manifest['name'] === packageName) return String(manifest['version']);
      }
      const parent = dirname(dir);
      if (parent === dir) return null;
      dir = parent;
    }
  } catch {
    return null;
  }
}

/**
 * The version to record for a contestant: of its package, or of the runtime when it is built in
 * (`runtimeVersions` defaults to this process's `process.versions`).
 */
export function contestantVersion(
  contestant: Pick<Contestant, 'package'>,
  runtime: Runtime,
  runtimeVersions: Readonly<Record<string, string | undefined>> = process.versions,
): string | null {
  if (contestant.package !== null) return installedVersion(contestant.package);
  return runtimeVersions[runtime] ?? null;
}

/** The adapter's source for the report: the TypeScript when at hand, else what runs. */
export function contestantSource(name: string): string | null {
  const isChat = Object.hasOwn(chatRows, name);
  if (!isChat && !Object.hasOwn(rows, name)) return null;
  const here = dirname(fileURLToPath(import.meta.url));
  const folder = isChat ? 'chat' : '.';
  const candidates = [
    join(here, '..', '..', 'src', 'contestants', folder, `${name}.ts`),
    join(here, folder, `${name}.js`),
  ];
  const file = candidates.find((path) => existsSync(path));
  return file === undefined ? null : readFileSync(file, 'utf8');
}
