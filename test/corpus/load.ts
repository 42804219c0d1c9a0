import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** test/corpus, from test/dist/corpus. */
export const corpusDir = join(
  resolve(dirname(fileURLToPath(import.meta.url)), '../../..'),
  'test/corpus',
);

export function loadJson<T>(name: string): T {
  return JSON.parse(readFileSync(join(corpusDir, name), 'utf8')) as T;
}

export const fromBase64 = (text: string): Buffer => Buffer.from(text, 'base64');

interface Outcome {
  reject?: number[];
  local?: number[];
  forward?: {
    upstream?: {
      method: string;
      target?: string;
      host?: string;
      body_base64?: string;
      many?: number;
    }[];
    status?: number;
    complete?: boolean;
    body_base64?: string;
    interim?: number[];
  };
}

/** A published case; see the schema in README.md beside the files. */
export interface PublishedCase {
  id: string;
  category: string;
  title: string;
  bytes_base64: string;
  segments?: [string, number][];
  expect: Outcome;
  also_ok?: Outcome;
  must_close: boolean | null;
  client_request_base64?: string;
  client_fin?: boolean;
  upstream_fin?: boolean;
  wait_ok?: boolean;
  timed?: boolean;
}

/** Cases that a codec alone cannot decide, and why. */
export interface GatewayOnly {
  comment: string;
  requests: Record<string, string>;
  responses: Record<string, string>;
}
