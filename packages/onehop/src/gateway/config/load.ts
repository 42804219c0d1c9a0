/**
 * From a YAML text or an object to a checked {@link GatewayConfig}, or to the list of everything
 * that is wrong with it, each with path, line and, where there is one, a suggestion.
 */
import type { z } from 'zod';
import { FieldBlock, isFieldValue, parseErrorReason } from '../../http1/index.ts';
import { readMaterial } from './material.ts';
import { type GatewayConfig, gatewaySchema } from './schema.ts';
import { type Path, pathText, thrownProblem, YamlText } from './yaml.ts';

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

/**
 * Checks an object, as `createGateway` takes it. The files of certificates and keys that it names are
 * read, checked and made part of it.
 */
export function checkConfig(value: unknown): ConfigResult {
  return check(value, null);
}

/**
 * Parses and checks a YAML file's text. `${NAME}` and `${NAME:-default}` inside values are replaced
 * from `env`; only in values, so that a variable cannot add structure. Never throws: a gateway that
 * runs calls it with whatever was saved. Otherwise as {@link checkConfig}.
 */
export function parseConfig(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): ConfigResult {
  try {
    const yaml = new YamlText(text, env);
    if (yaml.isBroken) return { config: null, problems: sorted(yaml.problems) };
    return check(yaml.values(), yaml);
  } catch (thrown) {
    return { config: null, problems: [thrownProblem(text, thrown)] };
  }
}

const sorted = (problems: readonly ConfigProblem[]): ConfigProblem[] =>
  [...problems].sort((a, b) => (a.line ?? 0) - (b.line ?? 0));

/** `yaml`: where the values are from; null for an object. */
function check(given: unknown, yaml: YamlText | null): ConfigResult {
  let value = given;
  let parsed = gatewaySchema.safeParse(value, { reportInput: true });
  if (!parsed.success && yaml?.coerce(parsed.error.issues.map(({ path }) => path)) === true) {
    value = yaml.values();
    parsed = gatewaySchema.safeParse(value, { reportInput: true });
  }
  const findings = parsed.success ? [] : parsed.error.issues.flatMap(explain);
  const known = yaml === null ? findings : findings.filter(({ path }) => !yaml.isUnset(path));
  known.push(...unknownUpstreams(value));
  if (parsed.success) known.push(...crossCheck(parsed.data), ...readMaterial(parsed.data));
  const problems = [...(yaml?.problems ?? [])];
  for (const { path, message } of known) {
    problems.push({
      path: pathText(path),
      line: yaml?.lineOf(path) ?? null,
      message: yaml?.redact(path, message) ?? message,
    });
  }
  if (parsed.success && problems.length === 0) return { config: parsed.data, problems: [] };
  return { config: null, problems: sorted(problems) };
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
