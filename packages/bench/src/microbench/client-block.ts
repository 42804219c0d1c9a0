/**
 * One block of `bench:client` in a fresh process: `client-block.js NAME PORT SIZE CONCURRENCY WARMUP_MS
 * BLOCK_MS`. Prints one line of JSON.
 */
import { contenders, drivePromises } from './client-contenders.ts';

export interface Block {
  requests: number;
  wallMs: number;
  cpuUserUs: number;
  cpuSystemUs: number;
  rssBytes: number;
}

const [name, port, size, concurrencyText, warmupMs, blockMs] = process.argv.slice(2);
const contender = contenders.find((each) => each.name === name);
if (contender === undefined) throw new Error(`no contender ${name}`);
const concurrency = Number(concurrencyText);
const opened = contender.open({
  host: '127.0.0.1',
  port: Number(port),
  path: `/${size}`,
  connectionsMax: concurrency,
});
const first = await opened.once();
if (first.status !== 200 || first.bytes !== Number(size)) {
  throw new Error(`${name} answered ${first.status} with ${first.bytes} bytes, not ${size}`);
}
const drive =
  opened.drive ??
  ((count: number, isOver: () => boolean) => drivePromises(opened.once, count, isOver));

let endMs = performance.now() + Number(warmupMs);
const isOver = (): boolean => performance.now() >= endMs;
await drive(concurrency, isOver);
const cpu = process.cpuUsage();
const startMs = performance.now();
endMs = startMs + Number(blockMs);
const requests = await drive(concurrency, isOver);
const wallMs = performance.now() - startMs;
const used = process.cpuUsage(cpu);
const block: Block = {
  requests,
  wallMs,
  cpuUserUs: used.user,
  cpuSystemUs: used.system,
  rssBytes: process.memoryUsage().rss,
};
console.log(JSON.stringify(block));
await opened.close();
process.exit(0);
