/** The API server's environment, read once; every problem is one sentence and exit code 1. */

import { CliError } from '../cli-error.ts';
import type { ReuseMode } from '../contestants/index.ts';
import { chatContestantNames, contestantNames, currentRuntime } from '../contestants/index.ts';

export interface ApiConfig {
  /** Base URL of the upstream, with trailing slash. */
  requestUrl: string;
  host: string;
  port: number;
  reuse: ReuseMode;
  /** Names of the contestants served under `/send_request/`; opened at the first request. */
  clients: readonly string[];
  /** The same for the chat case, under `/send_chat/`. */
  chatClients: readonly string[];
  connectionsMax: number;
  timeoutMs: number;
  /** Whether the `/_onehop/measure/` routes exist. */
  measure: boolean;
}

/** Upstream connections per client when nothing is said. */
export const defaultConnectionsMax = 100;

type Environment = Readonly<Record<string, string | undefined>>;

/** Checks the base URL of an upstream: http, trailing slash, nothing behind the path. */
export function checkRequestUrl(text: string | undefined): string {
  if (text === undefined || text === '') {
    throw new CliError(
      'REQUEST_URL is missing: set it to the base URL of the upstream, for example http://127.0.0.1:8001/',
    );
  }
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new CliError(
      `REQUEST_URL is no URL: "${text}" (expected something like http://127.0.0.1:8001/)`,
    );
  }
  if (url.protocol !== 'http:') {
    throw new CliError(`REQUEST_URL must start with http://, not ${url.protocol}// ("${text}")`);
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new CliError(
      'REQUEST_URL must be a plain base URL: no user name, password, query or fragment',
    );
  }
  if (!text.endsWith('/')) {
    throw new CliError(`REQUEST_URL must end with a slash: "${text}/" instead of "${text}"`);
  }
  return text;
}

/** A whole number out of an environment variable; `fallback` when it is not set. */
export function readInteger(
  env: Environment,
  name: string,
  fallback: number,
  min: number,
  max: number,
): number {
  const text = env[name];
  if (text === undefined || text === '') return fallback;
  const value = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    throw new CliError(`${name} must be a whole number from ${min} to ${max}, not "${text}"`);
  }
  return value;
}

function readReuse(env: Environment): ReuseMode {
  const text = env['ONEHOP_REUSE'] || 'shared';
  if (text !== 'shared' && text !== 'per-request') {
    throw new CliError(`ONEHOP_REUSE must be "shared" or "per-request", not "${text}"`);
  }
  return text;
}

function readClients(env: Environment): Pick<ApiConfig, 'clients' | 'chatClients'> {
  const runtime = currentRuntime();
  const [clients, chatClients] = [contestantNames(runtime), chatContestantNames(runtime)];
  const text = env['ONEHOP_CLIENTS'];
  if (text === undefined || text.trim() === '') return { clients, chatClients };
  const names = text.split(',').map((name) => name.trim());
  const known = [...clients, ...chatClients];
  for (const name of names) {
    if (known.includes(name)) continue;
    const elsewhere = [...contestantNames(), ...chatContestantNames()].includes(name);
    throw new CliError(
      `ONEHOP_CLIENTS names "${name}", which ${
        elsewhere ? `does not run on ${runtime}` : 'is unknown'
      }; known here: ${known.join(', ')}`,
    );
  }
  return {
    clients: names.filter((name) => clients.includes(name)),
    chatClients: names.filter((name) => chatClients.includes(name)),
  };
}

function readFlag(env: Environment, name: string): boolean {
  const text = env[name] ?? '';
  if (text !== '' && text !== '0' && text !== '1') {
    throw new CliError(`${name} must be 0 or 1, not "${text}"`);
  }
  return text === '1';
}

/** Reads the whole environment. Throws {@link CliError} at the first problem. */
export function readApiConfig(env: Environment): ApiConfig {
  return {
    requestUrl: checkRequestUrl(env['REQUEST_URL']),
    host: env['API_HOST'] || '127.0.0.1',
    port: readInteger(env, 'API_PORT', 8000, 0, 65535),
    reuse: readReuse(env),
    ...readClients(env),
    connectionsMax: readInteger(env, 'ONEHOP_CONNECTIONS_MAX', defaultConnectionsMax, 1, 100_000),
    timeoutMs: readInteger(env, 'ONEHOP_TIMEOUT_MS', 30_000, 1, 3_600_000),
    measure: readFlag(env, 'ONEHOP_MEASURE'),
  };
}
