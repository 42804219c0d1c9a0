// `npm start`: a gateway with stand-in services behind it, and what to try. Ctrl-C ends all of it.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startOpenAiService, startPlainService } from '../packages/mock/dist/index.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const [gatewayPort, adminPort] = [8080, 9090];

const plain = await Promise.all([
  startPlainService({ sizeBytes: 20, latency: { kind: 'uniform', minMs: 2, maxMs: 10 } }),
  startPlainService({ sizeBytes: 40, latency: { kind: 'uniform', minMs: 2, maxMs: 10 } }),
]);
const pace = {
  firstToken: { kind: 'fixed', ms: 200 },
  tokenGap: { kind: 'uniform', minMs: 20, maxMs: 60 },
};
const models = await Promise.all([startOpenAiService(pace), startOpenAiService(pace)]);
const targets = (services) => services.map(({ port }) => `"http://127.0.0.1:${port}"`).join(', ');

const dir = mkdtempSync(join(tmpdir(), 'onehop-start-'));
const file = join(dir, 'onehop.yaml');
writeFileSync(
  file,
  `listen: 127.0.0.1:${gatewayPort}
admin: 127.0.0.1:${adminPort}
accessLog: stdout
upstreams:
  llm: { protocol: openai, targets: [${targets(models)}] }
  hello: { balance: round-robin, targets: [${targets(plain)}] }
routes:
  - { path: /v1/*, upstream: llm }
  - { path: /hello/*, upstream: hello, serverTiming: true }
`,
);

const gateway = spawn(
  process.execPath,
  [join(root, 'packages/onehop/bin/onehop.js'), 'serve', file, ...process.argv.slice(2)],
  // A group of its own: Ctrl-C reaches it once, from here.
  { stdio: ['ignore', 'inherit', 'pipe', 'ipc'], detached: true },
);

const help = (url, admin) => `
The gateway is in front of two plain stand-ins and two OpenAI-shaped ones. In another terminal:

  a balanced route: the size of the body tells which of the two answered
    curl -i ${url}/hello/you
    for i in 1 2 3 4; do curl -s -o /dev/null -w '%{size_download}\\n' ${url}/hello/you; done

  an event stream, word by word
    curl -N ${url}/v1/chat/completions -H 'content-type: application/json' \\
      -d '{"model":"any","stream":true,"messages":[{"role":"user","content":"hi"}]}'

  what it saw
    curl -s ${admin}/metrics | grep onehop_requests_total
    curl -s ${admin}/status

  change the configuration and watch it being taken over
    ${file}

Ctrl-C ends all of it. Each request is logged below as a line of JSON.

`;

let stderr = '';
let helped = false;
gateway.stderr.on('data', (bytes) => {
  process.stderr.write(bytes);
  if (helped) return;
  stderr += bytes;
  const url = /listening on ([^\s,]+)/.exec(stderr)?.[1];
  const admin = /admin on (http:\S+?):? /.exec(stderr)?.[1];
  if (url === undefined || admin === undefined) return;
  helped = true;
  process.stdout.write(help(url, admin));
});
// A terminal and npm may both pass on one Ctrl-C, and the gateway takes a second one seriously.
let lastMs = Number.NEGATIVE_INFINITY;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (performance.now() - lastMs < 300) return;
    lastMs = performance.now();
    gateway.kill(signal === 'SIGHUP' ? 'SIGTERM' : signal);
  });
}
gateway.on('close', async (code) => {
  await Promise.all([...plain, ...models].map((service) => service.close()));
  rmSync(dir, { recursive: true, force: true });
  process.exit(code ?? 1);
});
