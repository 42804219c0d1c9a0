/** `onehop explain FILE METHOD PATH`: what the gateway would do with a request, and why. */
import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { explainRequest } from '../gateway/index.ts';
import { fileSource } from './config-source.ts';

interface ExplainFlags {
  host?: string;
  header: [string, string][];
  body?: string;
  json: boolean;
}

function addHeader(text: string, list: [string, string][]): [string, string][] {
  const colon = text.indexOf(':');
  if (colon < 1) throw new InvalidArgumentError('Write it as name: value.');
  return [...list, [text.slice(0, colon).trim(), text.slice(colon + 1).trim()]];
}

/** Resolves to the exit code: 0 a route takes it, 1 none does, 2 the file is not valid. */
export function explain(file: string, method: string, path: string, flags: ExplainFlags): number {
  const { config, problems } = fileSource(file).load();
  if (config === null) {
    for (const problem of problems) console.error(problem);
    return 2;
  }
  let body: Buffer | null = null;
  try {
    if (flags.body !== undefined) body = readFileSync(flags.body === '-' ? 0 : flags.body);
  } catch (error) {
    console.error(`onehop: the body cannot be read: ${(error as Error).message}`);
    return 2;
  }
  const explanation = explainRequest(config, {
    method,
    target: path,
    host: flags.host ?? null,
    headers: flags.header,
    body,
  });
  console.log(flags.json ? JSON.stringify(explanation, null, 2) : explanation.lines.join('\n'));
  return explanation.route === null ? 1 : 0;
}

export function explainCommand(program: Command): void {
  program
    .command('explain')
    .description('say which route takes a request, why not the others, and what happens then')
    .argument('<file>', 'configuration')
    .argument('<method>', 'for example POST')
    .argument('<path>', 'path and query as a caller sends them')
    .option('--host <name>', 'the Host of the request')
    .option('-H, --header <line>', 'a header field, `name: value`; may be repeated', addHeader, [])
    .option('--body <file>', 'the request body, for routes by model; - is stdin')
    .option('--json', 'for programs', false)
    .action((file: string, method: string, path: string, flags: ExplainFlags) => {
      process.exitCode = explain(file, method, path, flags);
    });
}
