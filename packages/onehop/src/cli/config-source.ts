/** Where `serve`, `check` and `explain` have their configuration from, and how it is watched. */
import { type FSWatcher, statSync, unwatchFile, watch, watchFile } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import {
  checkConfig,
  type GatewayConfig,
  parseConfig,
  readText,
  reasonOf,
} from '../gateway/index.ts';

/** What the command line says beside the file; it wins over the file. */
export interface ConfigOverrides {
  listen?: string;
  admin?: string;
  workers?: number;
  accessLog?: string;
}

/** A checked configuration, or every problem as one line each. */
export type LoadResult =
  | { readonly config: GatewayConfig; readonly problems: readonly [] }
  | { readonly config: null; readonly problems: readonly string[] };

export interface ConfigSource {
  /** Path as given; null when there is no file. */
  readonly file: string | null;
  /** Does not throw, whatever the file holds. */
  load(): LoadResult;
  /** Whether the file says something else than what `load` read last, valid or not. */
  hasChanged(): boolean;
  /** Whether there is no such file any more, or none that can be read: what `load` would say is told. */
  isUnreadable(): boolean;
}

/** Overrides are checked like the file: by the same schema. */
function withOverrides(config: GatewayConfig, overrides: ConfigOverrides): LoadResult {
  const given = Object.fromEntries(
    Object.entries(overrides).filter(([, value]) => value !== undefined),
  );
  if (Object.keys(given).length === 0) return { config, problems: [] };
  const probe = checkConfig({
    upstreams: { probe: { targets: ['http://127.0.0.1:1'] } },
    routes: [{ upstream: 'probe' }],
    ...given,
  });
  if (probe.config === null) {
    const problems = probe.problems.map(({ path, message }) => `--${flagOf(path)}: ${message}`);
    return { config: null, problems };
  }
  const { listen, admin, workers, accessLog } = probe.config;
  const merged: GatewayConfig = { ...config };
  if (overrides.listen !== undefined) merged.listen = listen;
  if (overrides.admin !== undefined) merged.admin = admin;
  if (overrides.workers !== undefined) merged.workers = workers;
  if (overrides.accessLog !== undefined) merged.accessLog = accessLog;
  return { config: merged, problems: [] };
}

const flagOf = (path: string): string => (path.startsWith('accessLog') ? 'access-log' : path);

/** Also another thing that can be read once only, and never again. */
function isPipe(file: string): boolean {
  try {
    const stats = statSync(file);
    return !stats.isFile() && !stats.isDirectory();
  } catch {
    return false;
  }
}

/** Configuration from a YAML file: `file:line: path: message` for each problem. */
export function fileSource(file: string, overrides: ConfigOverrides = {}): ConfigSource {
  let loaded: string | null = null;
  return {
    file,
    hasChanged() {
      try {
        return readText(file) !== loaded;
      } catch {
        // Between the removal and the renaming there is no file; that is not a change. What is no
        // file at all, a pipe for one, cannot be read again.
        return false;
      }
    },
    isUnreadable() {
      try {
        readText(file);
        return false;
      } catch {
        return !isPipe(file);
      }
    },
    load() {
      let text: string;
      try {
        text = readText(file, loaded === null);
      } catch (error) {
        return { config: null, problems: [`${file}: cannot be read: ${reasonOf(error)}`] };
      }
      loaded = text;
      const { config, problems } = parseConfig(text, process.env);
      if (config !== null) return withOverrides(config, overrides);
      return {
        config: null,
        problems: problems.map(
          ({ line, path, message }) =>
            `${file}:${line ?? 1}: ${path === '' ? '' : `${path}: `}${message}`,
        ),
      };
    },
  };
}

/** Configuration without a file: everything goes to the given targets. */
export function upstreamSource(targets: string[], overrides: ConfigOverrides = {}): ConfigSource {
  return {
    file: null,
    hasChanged: () => false,
    isUnreadable: () => false,
    load() {
      const { config, problems } = checkConfig({
        upstreams: { default: { targets } },
        routes: [{ path: '/*', upstream: 'default' }],
      });
      if (config !== null) return withOverrides(config, overrides);
      return { config: null, problems: problems.map(({ message }) => `--upstream: ${message}`) };
    },
  };
}

const debounceMs = 100;
const pollMs = 2000;
/** Editors remove a file and put another in its place: only one that stays away is told of. */
const goneMs = 1000;

/**
 * Calls `onChange` when the source's file says something else than what was loaded last, however it
 * was replaced: written in place, renamed over (editors), or behind a symbolic link (mounted config
 * maps), before this call too; and once when for a second there was none that can be read. Where the system has no watch left, or ends one, the file is looked at
 * every two seconds, which `say` is told of. Returns how to stop.
 */
export function watchConfig(
  source: ConfigSource,
  onChange: () => void,
  say: (text: string) => void = () => {},
): () => void {
  const { file } = source;
  if (file === null) return () => {};
  let timer: NodeJS.Timeout | null = null;
  let gone: 'no' | 'maybe' | 'told' = 'no';
  const look = (): void => {
    timer = null;
    if (!source.isUnreadable()) {
      gone = 'no';
      if (source.hasChanged()) onChange();
    } else if (gone === 'no') {
      gone = 'maybe';
      timer = setTimeout(look, goneMs);
    } else if (gone === 'maybe') {
      gone = 'told';
      onChange();
    }
  };
  const soon = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = setTimeout(look, debounceMs);
  };
  const sayPolled = (error: unknown): void =>
    say(
      `${file} is looked at every ${pollMs / 1000} s: it cannot be watched (${(error as Error).message})`,
    );
  let watcher: FSWatcher | null = null;
  try {
    // The directory, not the file: a watched file that is renamed away stays watched, gone.
    watcher = watch(dirname(resolve(file)), (_event, name) => {
      if (name === null || name === basename(file) || name.startsWith('..')) soon();
    });
    watcher.on('error', (error) => {
      watcher?.close();
      watcher = null;
      sayPolled(error);
    });
  } catch (error) {
    sayPolled(error);
  }
  const poll = (): void => soon();
  watchFile(file, { interval: pollMs, persistent: false }, poll);
  // It may have changed between the load and the first watch: nobody tells of that again.
  soon();
  return () => {
    if (timer !== null) clearTimeout(timer);
    watcher?.close();
    unwatchFile(file, poll);
  };
}
