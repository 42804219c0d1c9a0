/** `onehop bench api`: the study's API server by hand, for curl or any load generator. */
import { spawn } from 'node:child_process';
import type { Command } from 'commander';
import { CliError } from '../cli-error.ts';
import {
  contestantVersion,
  currentRuntime,
  loadChatContestants,
  loadContestants,
} from '../contestants/index.ts';
import { defaultConnectionsMax } from './config.ts';
import { launchCommand } from './launch.ts';
import { serveUntilSignal, urlOf } from './program.ts';

interface ApiFlags {
  requestUrl?: string;
  host?: string;
  port?: string;
  reuse?: string;
  clients?: string;
  connections?: string;
  timeout?: string;
  runtime?: string;
  list?: boolean;
}

const flagVariables = {
  requestUrl: 'REQUEST_URL',
  host: 'API_HOST',
  port: 'API_PORT',
  reuse: 'ONEHOP_REUSE',
  clients: 'ONEHOP_CLIENTS',
  connections: 'ONEHOP_CONNECTIONS_MAX',
  timeout: 'ONEHOP_TIMEOUT_MS',
} as const;

/** The environment with what was given as options put over it. */
function environment(flags: ApiFlags): Record<string, string | undefined> {
  const env: Record<string, string | undefined> = { ...process.env };
  for (const [flag, variable] of Object.entries(flagVariables)) {
    const value = flags[flag as keyof typeof flagVariables];
    if (value !== undefined) env[variable] = value;
  }
  return env;
}

async function listContestants(): Promise<void> {
  for (const contestant of [...(await loadContestants()), ...(await loadChatContestants())]) {
    const version = contestant.package === null ? '' : ` ${contestantVersion(contestant, 'node')}`;
    const modes = contestant.modes.join(', ');
    console.log(`${contestant.name}${version}  [${contestant.runtimes.join(', ')}; ${modes}]`);
    console.log(`    ${contestant.note}`);
  }
}

/** Runs the same program on the other runtime and passes signals on; resolves to its exit code. */
function runElsewhere(runtime: 'node' | 'bun', env: NodeJS.ProcessEnv): Promise<number> {
  const connectionsMax = Number(env['ONEHOP_CONNECTIONS_MAX']) || defaultConnectionsMax;
  const { command, args, env: own } = launchCommand({ program: 'api', runtime, connectionsMax });
  const limit = own['BUN_CONFIG_MAX_HTTP_REQUESTS'];
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { BUN_CONFIG_MAX_HTTP_REQUESTS: limit, ...env },
      stdio: 'inherit',
    });
    const forward = (signal: NodeJS.Signals) => child.kill(signal);
    process.on('SIGTERM', forward);
    process.on('SIGINT', forward);
    child.on('error', (error) =>
      reject(new CliError(`${runtime} did not start: ${error.message}`)),
    );
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

async function runApi(flags: ApiFlags): Promise<void> {
  if (flags.list === true) return listContestants();
  const runtime = flags.runtime ?? currentRuntime();
  if (runtime !== 'node' && runtime !== 'bun') {
    throw new CliError(`--runtime must be "node" or "bun", not "${runtime}"`);
  }
  const env = environment(flags);
  if (runtime !== currentRuntime()) {
    process.exitCode = await runElsewhere(runtime, env);
    return;
  }
  // Loaded late: the other commands must not wait for the server framework.
  const { startApiServer } = await import('./main.ts');
  const server = await startApiServer(env);
  const url = urlOf(server);
  console.error(
    `API on ${url}send_request/<client>/ and ${url}send_chat/<client>/ (Ctrl-C stops it); documentation: ${url}docs/`,
  );
  await serveUntilSignal(server);
}

export function registerApi(program: Command): void {
  program
    .command('api')
    .description(
      'run the study’s API server: forwards GET /send_request/<client>/ (or /send_chat/) to an upstream',
    )
    .option('--request-url <url>', 'base URL of the upstream, with trailing slash (REQUEST_URL)')
    .option('--host <host>', 'address to listen on (API_HOST, default 127.0.0.1)')
    .option('--port <port>', 'port to listen on, 0 for a free one (API_PORT, default 8000)')
    .option('--reuse <mode>', 'shared or per-request (ONEHOP_REUSE, default shared)')
    .option('--clients <names>', 'serve only these clients, comma-separated (ONEHOP_CLIENTS)')
    .option('--connections <n>', 'upstream connections per client (ONEHOP_CONNECTIONS_MAX)')
    .option('--timeout <ms>', 'give up on the upstream after this long (ONEHOP_TIMEOUT_MS)')
    .option('--runtime <name>', 'node or bun (default: the one this runs on)')
    .option('--list', 'list the clients and leave')
    .action(runApi);
}
