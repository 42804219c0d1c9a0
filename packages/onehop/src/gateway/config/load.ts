/**
 * From a YAML text or an object to a checked {@link GatewayConfig}, or to the list of everything
 * that is wrong with it, each with path, line and, where there is one, a suggestion.
 */
import { isPair, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml';
import type { z } from 'zod';
import { FieldBlock, isFieldValue, parseErrorReason } from '../../http1/index.ts';
import { type GatewayConfig, gatewaySchema } from './schema.ts';

export interface ConfigProblem {
  /** For example `upstreams.llm.timeouts.connect`; empty for the whole file. */
  readonly path: string;
  /** Counted from 1; null when the configuration was an object. */
  readonly line: number | null;
  readonly message: string;
}

export type ConfigResult =
  | { readonly config: GatewayConfig; readonly problems: readonly [] }
  | { readonly config: null; readonly problems: readonly ConfigProblem[] };

type Path = readonly PropertyKey[];

const pathText = (path: Path): string =>
  path
    .map((part, index) =>
      typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');

/** Checks an object, as `createGateway` takes it. */
export function checkConfig(value: unknown): ConfigResult {
  return check(value, () => null, []);
}

/**
 * Parses and checks a YAML file's text. `${NAME}` and `${NAME:-default}` inside values are replaced
 * from `env`; only in values, so that a variable cannot add structure.
 */
export function parseConfig(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): ConfigResult {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: true,
  });
  const problems: ConfigProblem[] = document.errors.map((error) => {
    const key = error.code === 'DUPLICATE_KEY' ? /^[^\s:]+/.exec(text.slice(error.pos[0])) : null;
    return {
      path: '',
      line: lines.linePos(error.pos[0]).line,
      message: key === null ? error.message : `the key ${key[0]} is there twice`,
    };
  });
  if (problems.length > 0) return { config: null, problems };
  const unset = new Set<unknown>();
  visit(document, {
    Scalar(key, node, ancestors) {
      if (key === 'key' || typeof node.value !== 'string' || !node.value.includes('${')) return;
      const line = node.range ? lines.linePos(node.range[0]).line : null;
      const replaced = substitute(node.value, env, (message) => {
        unset.add(node);
        problems.push({ path: pathText(pathOf([...ancestors, node])), line, message });
      });
      // A plain ${PORT} may be a number or a boolean; quoted or mixed text stays a string.
      const whole = node.type === 'PLAIN' && /^\$\{[^}]*\}$/.test(node.value);
      node.value = whole ? (parseDocument(replaced).toJS() as unknown) : replaced;
    },
  });
  const lineOf = (path: Path): number | null => {
    for (let depth = path.length; depth >= 0; depth--) {
      const node = document.getIn(path.slice(0, depth) as unknown[], true) as Node | undefined;
      if (node?.range) {
        // The key's line says more than the first line of its value.
        return keyLine(document, path.slice(0, depth), lines) ?? lines.linePos(node.range[0]).line;
      }
    }
    return 1;
  };
  // What a missing variable would have been nobody can judge.
  const isUnset = (path: Path): boolean => unset.has(document.getIn(path as unknown[], true));
  return check(document.toJS() ?? {}, lineOf, problems, isUnset);
}

/** Where a node stands, from the nodes above it and itself. */
function pathOf(nodes: readonly unknown[]): PropertyKey[] {
  return nodes.flatMap((node, index): PropertyKey[] => {
    if (isPair(node)) return [String((node.key as { value?: unknown } | null)?.value)];
    return isSeq(node) ? [node.items.indexOf(nodes[index + 1])] : [];
  });
}

function keyLine(
  document: ReturnType<typeof parseDocument>,
  path: Path,
  lines: LineCounter,
): number | null {
  if (path.length === 0) return null;
  const parent = document.getIn(path.slice(0, -1) as unknown[], true) as
    | { items?: { key?: unknown }[] }
    | undefined;
  for (const item of parent?.items ?? []) {
    if (isScalar(item.key) && String(item.key.value) === String(path.at(-1)) && item.key.range) {
      return lines.linePos(item.key.range[0]).line;
    }
  }
  return null;
}

function substitute(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
  report: (message: string) => void,
): string {
  return text.replace(/\$\{([^}]*)\}/g, (_whole, inside: string) => {
    const match = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/.exec(inside);
    if (match === null) {
      report(`\${${inside}} is not a variable; write \${NAME} or \${NAME:-default}`);
      return '';
    }
    const value = env[match[1]!];
    if (value !== undefined && value !== '') return value;
    if (match[2] !== undefined) return match[2];
    report(`environment variable ${match[1]} is not set`);
    return '';
  });
}

function check(
  value: unknown,
  lineOf: (path: Path) => number | null,
  earlier: readonly ConfigProblem[],
  isUnset: (path: Path) => boolean = () => false,
): ConfigResult {
  const parsed = gatewaySchema.safeParse(value, { reportInput: true });
  const problems = [...earlier];
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      for (const { path, message } of explain(issue)) {
        if (!isUnset(path)) problems.push({ path: pathText(path), line: lineOf(path), message });
      }
    }
  }
  const findings = [...unknownUpstreams(value), ...(parsed.success ? crossCheck(parsed.data) : [])];
  for (const { path, message } of findings) {
    problems.push({ path: pathText(path), line: lineOf(path), message });
  }
  if (parsed.success && problems.length === 0) return { config: parsed.data, problems: [] };
  problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
  return { config: null, problems };
}

interface Finding {
  path: Path;
  message: string;
}

/** One zod issue as one or more findings a person can act on. */
function explain(issue: z.core.$ZodIssue): Finding[] {
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(issue.path);
    return issue.keys.map((key) => ({
      path: [...issue.path, key],
      message: `unknown key${suggest(key, known)}`,
    }));
  }
  if (issue.code === 'invalid_value') {
    const values = issue.values.map(String);
    const given = typeof issue.input === 'string' ? issue.input : null;
    return [
      {
        path: issue.path,
        message: `expected one of ${values.join(', ')}${given === null ? '' : suggest(given, values)}`,
      },
    ];
  }
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    // The branch that got furthest says most; a custom hint on the union says it best.
    if (!issue.message.startsWith('Invalid input')) {
      return [{ path: issue.path, message: issue.message }];
    }
    const deepest = [...issue.errors].sort((a, b) => depth(b) - depth(a))[0]!;
    return deepest.flatMap((inner) =>
      explain({ ...inner, path: [...issue.path, ...inner.path] } as z.core.$ZodIssue),
    );
  }
  if (issue.code === 'invalid_type' && issue.input === undefined) {
    return [{ path: issue.path, message: 'is required' }];
  }
  if (issue.code === 'invalid_type') {
    return [{ path: issue.path, message: typeMessage(issue.expected, issue.input) }];
  }
  if (issue.code === 'too_small' && typeof issue.input === 'number') {
    return [{ path: issue.path, message: `must be at least ${issue.minimum}` }];
  }
  if (issue.code === 'too_big' && typeof issue.input === 'number') {
    return [{ path: issue.path, message: `must be at most ${issue.maximum}` }];
  }
  return [{ path: issue.path, message: issue.message.replace(/^Invalid input: /, '') }];
}

const KINDS: Record<string, string> = {
  array: 'a list',
  object: 'keys with values',
  record: 'keys with values',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  string: 'text',
};

/** What was expected and what is there, in the words of the file and not of the language. */
function typeMessage(expected: string, input: unknown): string {
  let actual = 'nothing';
  if (Array.isArray(input)) actual = 'a list';
  else if (typeof input === 'object' && input !== null) actual = 'keys with values';
  else if (input !== null) actual = JSON.stringify(input);
  const how = expected === 'array' ? '; write [a, b], or begin the line of each entry with -' : '';
  return `expected ${KINDS[expected] ?? expected}, not ${actual}${how}`;
}

const depth = (issues: z.core.$ZodIssue[]): number =>
  Math.max(0, ...issues.map((issue) => issue.path.length + (issue.code === 'custom' ? 0.5 : 0)));

/** Keys that the schema knows at a path, to suggest the nearest. */
function knownKeys(path: Path): string[] {
  // biome-ignore lint/suspicious/noExplicitAny: zod's internals are walked, not typed.
  let node: any = gatewaySchema;
  const unwrap = (): void => {
    while (node?._zod?.def !== undefined && node._zod.def.type !== 'object') {
      const def = node._zod.def;
      if (def.innerType !== undefined) node = def.innerType;
      else if (def.type === 'pipe') node = def.in;
      else break;
    }
  };
  for (const part of path) {
    unwrap();
    const def = node?._zod?.def;
    if (def?.type === 'object') node = def.shape[part as string];
    else if (def?.type === 'record') node = def.valueType;
    else if (def?.type === 'array') node = def.element;
    else return [];
  }
  unwrap();
  return node?._zod?.def?.type === 'object' ? Object.keys(node._zod.def.shape) : [];
}

/** `; did you mean x?` when something known is near. */
function suggest(given: string, known: readonly string[]): string {
  let best: string | null = null;
  let bestDistance = Math.max(2, Math.floor(given.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(given.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  if (best !== null) return `; did you mean ${best}?`;
  return known.length > 0 && known.length <= 20 ? `; known: ${known.join(', ')}` : '';
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** Routes to upstreams that do not exist; works on what did not pass the schema, too. */
function unknownUpstreams(value: unknown): Finding[] {
  const { upstreams, routes } = (value ?? {}) as { upstreams?: unknown; routes?: unknown };
  if (typeof upstreams !== 'object' || upstreams === null || !Array.isArray(routes)) return [];
  const names = Object.keys(upstreams);
  return routes.flatMap((route: { upstream?: unknown } | null, index) => {
    const name = route?.upstream;
    if (typeof name !== 'string' || names.includes(name)) return [];
    const message = `no upstream is named ${name}${suggest(name, names)}`;
    return [{ path: ['routes', index, 'upstream'], message }];
  });
}

const cannotSet = (name: string): string =>
  name.toLowerCase() === 'host'
    ? 'is chosen by preserveHost of the upstream'
    : 'belongs to one connection and is written by the gateway itself';

/** What one field alone cannot show. */
function crossCheck(config: GatewayConfig): Finding[] {
  const findings: Finding[] = [];
  const names = Object.keys(config.upstreams);
  if (names.length === 0)
    findings.push({ path: ['upstreams'], message: 'needs at least one upstream' });
  const seen = new Map<string, number>();
  config.routes.forEach((route, index) => {
    const key = JSON.stringify([
      route.host?.toLowerCase(),
      route.path,
      route.methods,
      route.headers,
      route.models,
    ]);
    const first = seen.get(key);
    if (first === undefined) seen.set(key, index);
    else
      findings.push({
        path: ['routes', index],
        message: `is never reached: routes[${first}] matches the same requests`,
      });
  });
  config.routes.forEach((route, index) => {
    for (const side of ['requestHeaders', 'responseHeaders'] as const) {
      for (const [name, value] of Object.entries(route.rewrite?.[side]?.set ?? {})) {
        const { errorCode } = new FieldBlock([name, value]);
        if (errorCode === 0) continue;
        findings.push({
          path: ['routes', index, 'rewrite', side, 'set', name],
          message: isFieldValue(value) ? cannotSet(name) : parseErrorReason(errorCode),
        });
      }
    }
  });
  for (const [name, upstream] of Object.entries(config.upstreams)) {
    if (upstream.balance === 'hash' && upstream.hash === undefined) {
      findings.push({
        path: ['upstreams', name, 'balance'],
        message: 'hash needs `hash: { header: ... }` or `hash: { param: ... }`',
      });
    }
    if (upstream.targets.every((target) => target.weight === 0)) {
      findings.push({
        path: ['upstreams', name, 'targets'],
        message: 'at least one target needs a weight above 0',
      });
    }
    const labels = upstream.targets.map((target) => target.label);
    labels.forEach((label, index) => {
      if (labels.indexOf(label) !== index) {
        findings.push({
          path: ['upstreams', name, 'targets', index],
          message: `${label} is listed twice`,
        });
      }
    });
  }
  for (const address of config.listen) {
    const admin = config.admin;
    if (admin === undefined || admin.port === 0 || admin.path !== null) continue;
    const sameHost =
      address.host === admin.host || address.host === '0.0.0.0' || admin.host === '0.0.0.0';
    if (address.port === admin.port && sameHost) {
      findings.push({
        path: ['admin'],
        message: 'must not share the address of the public listener',
      });
    }
  }
  return findings;
}
