/**
 * From the text of a file to plain values. Whatever is wrong with it as YAML is a problem with its
 * line: the library throws for some of it, and a gateway that runs reads files too.
 */
import {
  type Alias,
  type Document,
  isAlias,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type Scalar,
  visit,
} from 'yaml';
import type { ConfigProblem } from './load.ts';

export type Path = readonly PropertyKey[];

export const pathText = (path: Path): string =>
  path
    .map((part, index) =>
      typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`,
    )
    .join('');

type Env = Readonly<Record<string, string | undefined>>;

/** The file in `problems` is listed with what its values get wrong, if it has any: see `isBroken`. */
export class YamlText {
  readonly problems: ConfigProblem[] = [];
  /** It has no values: nothing more can be said about it. */
  isBroken = false;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;
  readonly #env: Env;
  readonly #unset = new Set<unknown>();
  /** What was put into scalars from the environment, by node: as the file has it. */
  readonly #written = new Map<unknown, string>();
  /** What may be said instead of a value that came from the environment: it may be a secret. */
  readonly #secrets = new Map<string, string>();

  /** May throw, for text that is nested too deeply: see {@link thrownProblem}. */
  constructor(text: string, env: Env) {
    this.#env = env;
    this.#document = parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      uniqueKeys: true,
    });
    const { errors, warnings } = this.#document;
    for (const error of [...errors, ...warnings]) {
      // Caught by the library, without a place.
      if (/call stack/i.test(error.message)) throw new RangeError(error.message);
      this.problems.push({
        path: '',
        line: this.#lines.linePos(error.pos[0]).line,
        message: libraryMessage(error.code, error.message, text.slice(error.pos[0])),
      });
    }
    if (this.problems.length > 0) this.isBroken = true;
    else this.#visit();
  }

  /** Its values, anew with each call. May throw: see {@link thrownProblem}. */
  values(): unknown {
    return this.#document.toJS() ?? {};
  }

  /** The key's line says more than the first line of its value. */
  lineOf(path: Path): number {
    for (let depth = path.length; depth >= 0; depth--) {
      const part = path.slice(0, depth);
      const node = this.#at(part);
      if (node?.range) return this.#keyLine(part) ?? this.#lines.linePos(node.range[0]).line;
    }
    return 1;
  }

  /** What a missing variable would have been nobody can judge. */
  isUnset(path: Path): boolean {
    return this.#unset.has(this.#at(path));
  }

  /** Without what came from the environment: it may be a secret, and messages end up in logs. */
  redact(path: Path, message: string): string {
    let shown = message;
    const own = this.#at(path);
    for (const [value, written] of this.#secrets) {
      // Short values are parts of words; where they stand themselves, that is no reason to show them.
      const isHere = isScalar(own) && this.#written.has(own) && String(own.value).includes(value);
      if (isHere || value.length >= 6) shown = shown.replaceAll(value, written);
    }
    return shown;
  }

  /**
   * What is nothing but a variable is text. Where the schema wants something else it is what it looks
   * like, a number or a boolean. True when that changed one of `paths`.
   */
  coerce(paths: readonly Path[]): boolean {
    let changed = false;
    for (const path of paths) {
      const node = this.#at(path);
      if (!isScalar(node) || node.type !== 'PLAIN' || typeof node.value !== 'string') continue;
      const written = this.#written.get(node);
      if (written === undefined || !/^\$\{[^}]*\}$/.test(written)) continue;
      const { value } = node;
      if (value === 'true' || value === 'false') node.value = value === 'true';
      else if (/^[-+]?\d+(\.\d+)?$/.test(value)) node.value = Number(value);
      else continue;
      changed = true;
    }
    return changed;
  }

  #at(path: Path): Node | undefined {
    const node = this.#document.getIn(path as unknown[], true) as Node | undefined;
    return isAlias(node) ? node.resolve(this.#document) : node;
  }

  #keyLine(path: Path): number | null {
    if (path.length === 0) return null;
    const parent = this.#document.getIn(path.slice(0, -1) as unknown[], true) as
      | { items?: { key?: unknown }[] }
      | undefined;
    for (const item of parent?.items ?? []) {
      if (isScalar(item.key) && String(item.key.value) === String(path.at(-1)) && item.key.range) {
        return this.#lines.linePos(item.key.range[0]).line;
      }
    }
    return null;
  }

  #visit(): void {
    const anchors = new Set<string>();
    const named = (node: { anchor?: string | undefined }): void => {
      if (node.anchor !== undefined) anchors.add(node.anchor);
    };
    visit(this.#document, {
      Map: (_key, node) => named(node),
      Seq: (_key, node) => named(node),
      Pair: (_key, node, ancestors) => this.#checkKey(node, ancestors),
      Alias: (_key, node, ancestors) => {
        if (anchors.has(node.source)) return;
        this.#refuse(
          node,
          ancestors,
          `*${node.source} is an alias of YAML, and no anchor before it has that name: a value that begins with * needs quotes`,
        );
      },
      Scalar: (key, node, ancestors) => {
        named(node);
        if (key !== 'key') this.#checkScalar(node, ancestors);
      },
    });
  }

  #checkKey(node: Pair, ancestors: readonly unknown[]): void {
    const { key } = node;
    const path = [...ancestors, node];
    if (!isScalar(key) || key.value === null) {
      this.#refuse((key as Node | null) ?? node, path, 'a key must be plain text');
    } else if (key.value === '__proto__') {
      this.#refuse(key, path, 'the key __proto__ is not allowed');
    }
  }

  #checkScalar(node: Scalar, ancestors: readonly unknown[]): void {
    if (typeof node.value !== 'string') return;
    if (node.value.includes('\0')) {
      this.#refuse(node, ancestors, 'must not hold a NUL byte');
      return;
    }
    if (!node.value.includes('${')) return;
    const written = node.value;
    const report = (message: string): void => {
      this.#unset.add(node);
      this.problems.push(this.#problem(node, ancestors, message));
    };
    const replaced = substitute(written, this.#env, this.#secrets, report);
    if (replaced.includes('\0')) report('must not hold a NUL byte');
    this.#written.set(node, written);
    node.value = replaced;
  }

  #refuse(node: Alias | Node | Pair, ancestors: readonly unknown[], message: string): void {
    this.isBroken = true;
    this.problems.push(this.#problem(node, ancestors, message));
  }

  #problem(
    node: Alias | Node | Pair,
    ancestors: readonly unknown[],
    message: string,
  ): ConfigProblem {
    const range = 'range' in node ? node.range : null;
    return {
      path: pathText(pathOf([...ancestors, node])),
      line: range ? this.#lines.linePos(range[0]).line : 1,
      message,
    };
  }
}

/** What the library threw instead of listing it: a text beyond its bounds, or a bug of it or of ours. */
export function thrownProblem(text: string, thrown: unknown): ConfigProblem {
  const { message } = thrown as Error;
  const tooDeep = thrown instanceof RangeError;
  return {
    path: '',
    line: tooDeep ? deepestLine(text) : 1,
    message: tooDeep
      ? 'is nested too deeply'
      : /alias/i.test(String(message))
        ? `its aliases stand for too much, or for themselves: ${message}`
        : `cannot be read: ${message}`,
  };
}

/** Where brackets and indentation are deepest; quotes and comments are not looked at. */
function deepestLine(text: string): number {
  let open = 0;
  let most = 0;
  let found = 1;
  text.split('\n').forEach((line, index) => {
    const indented = /^[ -]*/.exec(line)![0].length;
    for (const char of line) {
      if (char === '[' || char === '{') open++;
      else if (char === ']' || char === '}') open--;
      if (open + indented <= most) continue;
      most = open + indented;
      found = index + 1;
    }
  });
  return found;
}

function libraryMessage(code: string, message: string, at: string): string {
  if (code === 'DUPLICATE_KEY') return `the key ${/^[^\s:]+/.exec(at)?.[0] ?? ''} is there twice`;
  if (code === 'MULTIPLE_DOCS') return 'a second document begins: a file holds one configuration';
  if (code === 'TAG_RESOLVE_FAILED') return `${message}: tags of YAML are not used here`;
  return message;
}

/** Where a node stands, from the nodes above it and itself. */
function pathOf(nodes: readonly unknown[]): PropertyKey[] {
  return nodes.flatMap((node, index): PropertyKey[] => {
    if (isPair(node)) return [String((node.key as { value?: unknown } | null)?.value)];
    return isSeq(node) ? [node.items.indexOf(nodes[index + 1])] : [];
  });
}

function substitute(
  text: string,
  env: Env,
  secrets: Map<string, string>,
  report: (message: string) => void,
): string {
  return text.replace(/\$\{([^}]*)\}/g, (_whole, inside: string) => {
    const match = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/.exec(inside);
    if (match === null) {
      report(`\${${inside}} is not a variable; write \${NAME} or \${NAME:-default}`);
      return '';
    }
    const value = env[match[1]!];
    if (value !== undefined && value !== '') {
      secrets.set(value, `\${${match[1]}}`);
      return value;
    }
    if (match[2] !== undefined) return match[2];
    report(`environment variable ${match[1]} is not set`);
    return '';
  });
}
