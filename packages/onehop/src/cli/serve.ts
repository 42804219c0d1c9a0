/** `onehop serve`: runs the gateway until it is told to end. */
import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { OnehopError } from '../core/index.ts';
import { AdminServer, type GatewayConfig, type ReloadResult } from '../gateway/index.ts';
import { renderPrometheus } from '../telemetry/index.ts';
import { clearStaleSocket } from '../transport/index.ts';
import { chooseRuntime, type RuntimeChoice } from './choose-runtime.ts';
import {
  type ConfigOverrides,
  type ConfigSource,
  fileSource,
  upstreamSource,
  watchConfig,
} from './config-source.ts';
import { descriptorWarning, GatewayProcess } from './gateway-process.ts';
import { surviveClosedOutput, surviveFaults } from './last-resort.ts';
import { notifySystemd } from './notify.ts';
import { needsRestart, type Running } from './running.ts';
import { Supervisor } from './supervisor.ts';
import { version } from './version.ts';

const defaultFile = 'onehop.yaml';

interface ServeFlags extends ConfigOverrides {
  upstream?: string[];
  runtime: RuntimeChoice;
  watch: boolean;
  /** No supervisor: the gateway runs in this very process. */
  singleProcess?: boolean;
}

const say = (text: string): void => {
  process.stderr.write(`onehop: ${text}\n`);
};

/** Where the configuration is, or the sentence that says what is missing. */
function sourceOf(file: string | undefined, flags: ServeFlags): ConfigSource | string {
  const { listen, admin, workers, accessLog, upstream } = flags;
  const overrides: ConfigOverrides = {
    ...(listen === undefined ? {} : { listen }),
    ...(admin === undefined ? {} : { admin }),
    ...(workers === undefined ? {} : { workers }),
    ...(accessLog === undefined ? {} : { accessLog }),
  };
  if (upstream !== undefined) {
    if (file !== undefined) return 'give either a file or --upstream, not both';
    return upstreamSource(upstream, overrides);
  }
  if (file !== undefined) return fileSource(file, overrides);
  if (existsSync(defaultFile)) return fileSource(defaultFile, overrides);
  return `no ${defaultFile} here: name a file, or forward everything with --upstream http://host:port`;
}

/** Keeps the gateway, its admin listener and its configuration together. */
class ServeSession {
  readonly #source: ConfigSource;
  readonly #running: Running;
  #config: GatewayConfig;
  #admin: AdminServer | null = null;
  #lastReload: ReloadResult | null = null;
  #stopWatching: (() => void) | null = null;
  #stops = { here: 0 };
  #ending: Promise<void> | null = null;
  #changing: Promise<void> = Promise.resolve();
  readonly #ended: Promise<number>;
  #end!: (code: number) => void;

  constructor(source: ConfigSource, config: GatewayConfig, running: Running) {
    this.#source = source;
    this.#config = config;
    this.#running = running;
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** Resolves to the exit code when all is over. */
  async run(runtime: string, watch: boolean): Promise<number> {
    const { admin } = this.#config;
    let addresses: readonly string[];
    let adminAddress = '';
    try {
      if (admin !== undefined) adminAddress = await this.#openAdmin(admin);
      addresses = await this.#running.start();
    } catch (error) {
      await this.#admin?.close();
      say(listenProblem(error));
      return 1;
    }
    const { workers } = this.#config;
    surviveFaults(this.#running.faulted);
    // Before it says that it runs: who reads that may send signals at once.
    this.#listenToSignals();
    const lines = [
      `${version()} on ${runtime}${workers > 1 ? `, ${workers} workers` : ''}, pid ${process.pid}`,
      `listening on ${addresses.join(', ')}`,
    ];
    if (adminAddress !== '')
      lines.push(`admin on ${adminAddress}: /health /ready /metrics /status`);
    const warning = descriptorWarning(this.#config);
    if (warning !== null) lines.push(`warning: ${warning}`);
    say(lines.join('\nonehop: '));
    if (watch) {
      const changed = (): void => this.#reload('the file changed', true);
      this.#stopWatching = watchConfig(this.#source, changed, say);
    }
    notifySystemd('READY=1', `STATUS=forwarding on ${addresses.join(', ')}`);
    if (reloadAsked) this.#reload('SIGHUP');
    return this.#ended;
  }

  async #openAdmin(address: NonNullable<GatewayConfig['admin']>): Promise<string> {
    const running = this.#running;
    this.#admin = new AdminServer({
      isReady: () => (this.#ending === null ? running.isReady() : false),
      metrics: async () => renderPrometheus(await running.snapshot()),
      status: () =>
        running.status({
          version: version(),
          configFile: this.#source.file,
          lastReload: this.#lastReload,
        }),
    });
    const { host, port, path } = await this.#admin.listen(address);
    return path !== null
      ? `unix:${path}`
      : `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  }

  #listenToSignals(): void {
    process.on('SIGTERM', () => this.#stop('SIGTERM'));
    process.on('SIGINT', () => this.#stop('SIGINT'));
    // Started with a channel: who started it is gone.
    if (process.connected) process.on('disconnect', () => this.#stop('the parent ended'));
    process.on('SIGHUP', () => this.#reload('SIGHUP'));
    process.on('SIGUSR1', () => this.#roll());
    process.on('SIGUSR2', () => {
      this.#running.reopenLogs();
      say('SIGUSR2: the access log is opened again');
    });
  }

  #stop(signal: string): void {
    this.#stops.here++;
    if (this.#stops.here > 1) {
      say(`${signal} again: ended at once`);
      this.#running.kill();
      process.exit(1);
    }
    say(`${signal}: draining; once more ends at once`);
    notifySystemd('STOPPING=1');
    this.#stopWatching?.();
    this.#ending = this.#drain();
  }

  async #drain(): Promise<void> {
    let code = 0;
    try {
      await this.#running.drain();
      await this.#admin?.close();
      say('ended');
    } catch (error) {
      // Whoever waits for the end of the process must not wait for ever.
      this.#running.faulted(error, 'the drain');
      code = 1;
    }
    this.#end(code);
  }

  /**
   * Changes of the configuration happen one after the other. `ifNews`: not when what came before it
   * in that line has loaded the same text.
   */
  #reload(why: string, ifNews = false): void {
    this.#change(why, async () => {
      if (ifNews && !this.#source.hasChanged() && !this.#source.isUnreadable()) return;
      await this.#loadAndApply(why, (config) => this.#apply(config));
    });
  }

  /** Whatever one change throws, the old configuration stays in force and the next is made. */
  #change(why: string, make: () => Promise<void>): void {
    this.#changing = this.#changing.then(make).catch((error: unknown) => {
      this.#running.faulted(error, 'a change of the configuration');
      const problem = (error as Error | null)?.message ?? String(error);
      this.#refused(why, problem);
    });
  }

  #refused(why: string, problem: string): void {
    const at = new Date().toISOString();
    this.#lastReload = { at, ok: false, problems: [problem], needsRestart: [] };
    say(`${why}: the old configuration stays in force: ${problem}`);
  }

  #roll(): void {
    const { roll } = this.#running;
    if (roll === null) {
      say('SIGUSR1: there is no worker to replace: it runs as --single-process');
      return;
    }
    const why = 'SIGUSR1: workers are replaced';
    this.#change(why, () => this.#loadAndApply(why, roll, ['limits']));
  }

  async #apply(config: GatewayConfig): Promise<string | null> {
    return this.#running.apply(config);
  }

  async #loadAndApply(
    why: string,
    put: (config: GatewayConfig) => Promise<string | null>,
    changes: string[] = [],
  ): Promise<void> {
    if (this.#ending !== null) return;
    const at = new Date().toISOString();
    const { config, problems } = this.#source.load();
    if (config === null) {
      this.#running.reloadFailed();
      this.#lastReload = { at, ok: false, problems, needsRestart: [] };
      say(`${why}: the configuration is not valid and the old one stays in force:`);
      for (const problem of problems) process.stderr.write(`${problem}\n`);
      return;
    }
    const fixed = needsRestart(this.#config, config).filter((key) => !changes.includes(key));
    const problem = await put(config);
    if (problem !== null) {
      this.#refused(why, problem);
      return;
    }
    this.#lastReload = { at, ok: true, problems: [], needsRestart: fixed };
    // What needs a restart is compared with what is really in force, at the next reload too.
    const { listen, admin, workers, limits } = this.#config;
    const kept = { ...config, listen, workers, ...(changes.includes('limits') ? {} : { limits }) };
    if (admin === undefined) delete kept.admin;
    else kept.admin = admin;
    this.#config = kept;
    say(`${why}: done, ${config.routes.length} routes in force`);
    if (fixed.length > 0) say(`warning: ${fixed.join(', ')} changed: that needs a restart`);
  }
}

function listenProblem(error: unknown): string {
  if (!(error instanceof OnehopError)) throw error;
  if (error.code === 'ADDRESS_IN_USE') {
    return `${error.message}: is another gateway running?`;
  }
  return error.message;
}

/** SIGHUP came while the gateway started: its configuration may be read already. */
let reloadAsked = false;

/** Those that ask a gateway that runs for something would end one that starts. */
function holdSignals(): void {
  process.on('SIGHUP', () => {
    reloadAsked = true;
  });
  // New workers and a new log are what it is about to have.
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});
}

/** Runs the gateway; resolves to the exit code. 2: the configuration is not valid. */
export async function serve(file: string | undefined, flags: ServeFlags): Promise<number> {
  surviveClosedOutput();
  holdSignals();
  const source = sourceOf(file, flags);
  if (typeof source === 'string') {
    say(source);
    return 2;
  }
  const { config, problems } = source.load();
  if (config === null) {
    for (const problem of problems) process.stderr.write(`${problem}\n`);
    return 2;
  }
  const alone = flags.singleProcess === true;
  if (alone && config.workers > 1) {
    say(`--single-process has no workers, and the configuration asks for ${config.workers}`);
    return 2;
  }
  const runtime = chooseRuntime(flags.runtime, alone);
  if (typeof runtime === 'string') {
    say(runtime);
    return 1;
  }
  for (const { path } of [...config.listen, ...(config.admin ? [config.admin] : [])]) {
    if (path !== null) await clearStaleSocket(path);
  }
  let running: Running;
  try {
    running = alone
      ? new GatewayProcess(config)
      : new Supervisor(config, { bun: runtime.bun, log: say });
  } catch (error) {
    say((error as Error).message);
    return 1;
  }
  return new ServeSession(source, config, running).run(runtime.text, flags.watch);
}

const positive = (value: string): number => {
  const count = /^\d{1,3}$/.test(value) ? Number(value) : 0;
  if (count < 1 || count > 256) throw new InvalidArgumentError('Give a number from 1 to 256.');
  return count;
};

export function serveCommand(program: Command): void {
  program
    .command('serve')
    .description('the gateway: forwards requests as a file or --upstream says')
    .argument('[file]', `configuration; ${defaultFile} when it is there`)
    .option('--upstream <url...>', 'forward everything to these targets, without a file')
    .option(
      '--listen <address>',
      'where callers connect: 8080, 0.0.0.0:8080, unix:/path (default: 127.0.0.1:8080)',
    )
    .option(
      '--admin <address>',
      'where /health, /ready, /metrics and /status are, e.g. 127.0.0.1:9090 (default: none)',
    )
    .addOption(
      new Option('--workers <count>', 'processes that share the work (default: 1)').argParser(
        positive,
      ),
    )
    .addOption(
      new Option('--runtime <name>', 'what runs it; auto takes Bun when it is found')
        .choices(['auto', 'node', 'bun'])
        .default('auto'),
    )
    .option(
      '--access-log <where>',
      'off, stdout or a file: a line of JSON for each request (default: off)',
    )
    .option(
      '--single-process',
      'no supervisor: nothing starts the gateway again when it dies; for debuggers',
    )
    .option('--no-watch', 'reload on SIGHUP only, not when the file changes')
    .addHelpText(
      'after',
      `
Flags win over the file. Without a file and without --upstream, ${defaultFile} in this directory is read.
  onehop serve --upstream http://127.0.0.1:8000 --admin 127.0.0.1:9090
  onehop serve gateway.yaml --workers 2 --access-log stdout

Signals: TERM and INT drain, twice ends at once; HUP reloads the configuration; USR1 replaces the
workers one by one, a single one as well; USR2 opens the access log again.
Exit codes: 0 ended as told, 1 could not run, 2 the configuration is not valid.`,
    )
    .action(async (file: string | undefined, flags: ServeFlags) => {
      const code = await serve(file, flags);
      // Output to pipes is asynchronous; exit only when nothing else holds the process.
      process.exitCode = code;
      process.stderr.write('', () => process.exit(code));
    });
}
