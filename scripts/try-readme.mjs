// Tries the README's gateway section as somebody new would: a fresh clone, an empty home and an empty
// npm cache, the section's commands as they stand there. Prints what was seen and how long it took; exit
// code 1 when something else was seen. `--here` leaves out the clone and the install and takes free
// ports: that is how the tests run it.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({ options: { here: { type: 'boolean', default: false } } });
const home = mkdtempSync(join(tmpdir(), 'onehop-try-'));

function blocksOf(readme) {
  const section = /\n## The gateway\n([\s\S]*?)\n## /.exec(readme)?.[1] ?? '';
  const blocks = [...section.matchAll(/\n```sh\n([\s\S]*?)\n```/g)].map(([, block]) => block);
  if (blocks.length !== 2) throw new Error('the gateway section has not two blocks of commands');
  return blocks;
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function bash(script, cwd, env) {
  return new Promise((resolve) => {
    const child = spawn('bash', ['-c', script], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (bytes) => (text += bytes));
    const timer = setTimeout(() => child.kill('SIGKILL'), values.here ? 60_000 : 300_000);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code, text });
    });
  });
}

/** Each thing the section promises, and how it shows. */
const promises = [
  ['forwarded', /HTTP\/1\.1 200 OK/],
  ['balanced', /TRY balanced (20 40 20 40|40 20 40 20) /],
  ['streamed', /data: \[DONE\]/],
  ['routed around', /TRY killed (40 ){4}/],
  ['status', /"upstreams": ?\{/],
  ['metrics', /onehop_requests_total\{route="\/hello\/\*",upstream="hello",status="2xx"\} 9/],
  ['ended', /TRY over/],
];

/**
 * The text, and behind it each mark with the numbers that follow it on lines of their own: what runs in
 * the background says that it is ready when it is, in between.
 */
const withNumbers = (text) =>
  text.split(/(?=TRY )/).reduce((all, part) => {
    const [mark] = part.split('\n', 1);
    const numbers = part.match(/^ *\d+$/gm) ?? [];
    return `${all}\n${mark} ${numbers.map((number) => `${number.trim()} `).join('')}`;
  }, text);

/** The section's commands, with marks between them and a wait where a person would be reading. */
function scriptOf([start, look], ports) {
  let text = `${start}
for at in 9090/ready 8001/ 8002/ 8003/v1/models; do
  for i in $(seq 200); do curl -sf http://127.0.0.1:$at > /dev/null && break; sleep 0.1; done
done
${look
  .replace('\nfor ', '\necho TRY balanced\nfor ')
  .replace('\nkill %1', '\necho TRY between\nkill %1')
  .replace(/\n(kill %1[^\n]*)\n/, '\n$1\nsleep 0.5\necho TRY killed\n')}
wait
echo TRY over
`;
  for (const [from, to] of Object.entries(ports)) text = text.replaceAll(from, String(to));
  return `set -m\n${text}`;
}

async function main() {
  const began = performance.now();
  const seconds = () => ((performance.now() - began) / 1000).toFixed(1);
  const env = { ...process.env };
  let cwd = root;
  const ports = {};
  if (values.here) {
    for (const port of ['8001', '8002', '8003', '8080', '9090']) ports[port] = await freePort();
    Object.assign(env, {
      HELLO_1: ports[8001],
      HELLO_2: ports[8002],
      MODELS: ports[8003],
      PORT: ports[8080],
      ADMIN_PORT: ports[9090],
    });
  } else {
    for (const name of Object.keys(env)) if (/^npm_|^NODE_|^ONEHOP/i.test(name)) delete env[name];
    Object.assign(env, { HOME: home, npm_config_cache: join(home, 'cache') });
    cwd = join(home, 'onehop');
    const install = await bash(`git clone -q "${root}" onehop && cd onehop && npm ci`, home, env);
    console.log(`cloned and installed after ${seconds()} s`);
    if (install.code !== 0) throw new Error(install.text);
  }
  const blocks = blocksOf(readFileSync(join(cwd, 'README.md'), 'utf8'));
  // The install of a clone is done above, so that its time shows.
  const { text } = await bash(
    scriptOf([blocks[0].replace('npm ci\n', ''), blocks[1]], ports),
    cwd,
    env,
  );
  console.log(`every command tried after ${seconds()} s`);
  const said = withNumbers(text);
  const broken = promises.filter(([, pattern]) => !pattern.test(said));
  for (const [name] of promises) {
    console.log(`  ${broken.some(([other]) => other === name) ? 'NOT SEEN' : 'seen    '} ${name}`);
  }
  if (broken.length > 0) console.log(text);
  return broken.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} finally {
  rmSync(home, { recursive: true, force: true });
}
