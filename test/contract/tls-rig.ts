/** Certificates made for a test, and the HTTPS server that shows them. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findBun } from 'onehop/cli/find-bun';
import { transport } from 'onehop/transport';

const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'onehop-client-tls-'));
const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill();
  rmSync(folder, { recursive: true, force: true });
});

export interface Certificate {
  certFile: string;
  keyFile: string;
  cert: string;
  key: string;
}

/** A self-signed certificate, its own issuer. */
export function makeCertificate(name: string): Certificate {
  const certFile = join(folder, `${name}.pem`);
  const keyFile = join(folder, `${name}-key.pem`);
  const made = spawnSync(
    'openssl',
    [
      ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -nodes'.split(' '),
      ...['-keyout', keyFile, '-out', certFile, '-subj', `/CN=${name}`],
      ...['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ],
    { encoding: 'utf8' },
  );
  assert.equal(made.status, 0, made.stderr);
  const [cert, key] = [readFileSync(certFile, 'utf8'), readFileSync(keyFile, 'utf8')];
  return { certFile, keyFile, cert, key };
}

/** Starts the server with a runtime; resolves with its port. */
export async function startHttps(command: string, args: string[]): Promise<number> {
  const child = spawn(command, [join(here, 'https-server.js'), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the server exited with ${code}`)));
    child.stdout.once('data', (text) => resolve(Number(String(text).trim())));
  });
}

export const hasOpenssl: boolean = spawnSync('openssl', ['version']).status === 0;
const node = transport.name === 'bun' ? 'node' : process.execPath;

/** Servers by name, with the runtime that runs them; null where it is missing. */
export const servers: [name: string, command: string | null][] = [
  ['node:https', spawnSync(node, ['--version']).status === 0 ? node : null],
  ['Bun.serve', findBun()],
];
