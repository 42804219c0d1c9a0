/**
 * What the codec costs: `npm run bench:codec [-- --runtime node|bun|both] [--out DIR]`. Each line is
 * the median of several rounds, lines interleaved, in nanoseconds of wall time and of CPU time per
 * message. On Node the parser inside node:http is measured with the same bytes.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  Connection,
  chunkHead,
  FieldBlock,
  Framing,
  HeadWriter,
  HopByHopFilter,
  KnownField,
  LAST_CHUNK,
  Read,
  RequestParser,
  ResponseParser,
  writeChunkHead,
  writeInto,
} from './index.ts';

interface Line {
  name: string;
  bytes: number;
  /** Handles `count` messages; returns something that depends on all of them. */
  run(count: number): number;
}

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

const SMALL_REQUEST = latin1('GET /v1/models HTTP/1.1\r\nHost: localhost:8080\r\n\r\n');
const TYPICAL_RESPONSE = latin1(
  'HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\nServer: uvicorn\r\n' +
    'Content-Type: application/json\r\nContent-Length: 50\r\nConnection: keep-alive\r\n' +
    'X-Request-Id: 0b7c5d1e-93a4-4f0e-8f43-5e8f1c2d3a4b\r\nCache-Control: no-store\r\n' +
    'Vary: Origin\r\n\r\n' +
    '{"id":"0123456789","object":"x","ok":true,"n":123}',
);
const BROWSER_REQUEST = latin1(
  'GET /search?q=onehop&lang=en&page=2 HTTP/1.1\r\nHost: www.example.test\r\n' +
    'Connection: keep-alive\r\nCache-Control: max-age=0\r\n' +
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36\r\n' +
    'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8\r\n' +
    'Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n' +
    'Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes; _ga=GA1.1.1.1\r\n' +
    'Referer: https://www.example.test/search?q=onehop\r\nUpgrade-Insecure-Requests: 1\r\n' +
    'Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n' +
    'Sec-Fetch-Dest: document\r\nSec-Ch-Ua: "Chromium";v="140", "Not=A?Brand";v="24"\r\n' +
    'Sec-Ch-Ua-Mobile: ?0\r\nSec-Ch-Ua-Platform: "Linux"\r\nDnt: 1\r\n' +
    Array.from({ length: 11 }, (_, i) => `X-Custom-${i}: value of field ${i}\r\n`).join('') +
    '\r\n',
);
const CHUNKED_RESPONSE = Buffer.concat([
  latin1('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n'),
  ...Array.from({ length: 16 }, () => latin1(`1000\r\n${'x'.repeat(4096)}\r\n`)),
  latin1('0\r\n\r\n'),
]);

/** Reads one message from `bytes`; throws when it does not end. */
function readWhole(parser: RequestParser | ResponseParser, bytes: Uint8Array): number {
  let at = 0;
  let seen = 0;
  for (;;) {
    const read = parser.read(bytes, at, bytes.length);
    at = parser.position;
    if (read === Read.Body) seen += parser.bodyEnd - parser.bodyStart;
    else if (read === Read.End) return seen;
    else if (read !== Read.Head) throw new Error(`read ${read} error ${parser.errorCode}`);
  }
}

function parseLines(): Line[] {
  const request = new RequestParser();
  const response = new ResponseParser();
  const requestLine = (name: string, bytes: Buffer, strings: boolean): Line => ({
    name,
    bytes: bytes.length,
    run(count) {
      let seen = 0;
      for (let i = 0; i < count; i++) {
        request.begin();
        if (request.read(bytes, 0, bytes.length) !== Read.Head) throw new Error('no head');
        if (strings) seen += request.head.target.length + request.head.rawPairs().length;
        else seen += request.head.count;
        if (request.read(bytes, request.position, bytes.length) !== Read.End)
          throw new Error('end');
      }
      return seen;
    },
  });
  const responseLine = (name: string, bytes: Buffer, use: () => number): Line => ({
    name,
    bytes: bytes.length,
    run(count) {
      let seen = 0;
      for (let i = 0; i < count; i++) {
        response.begin(false, false, false);
        let at = 0;
        for (;;) {
          const read = response.read(bytes, at, bytes.length);
          at = response.position;
          if (read === Read.Head) seen += use();
          else if (read === Read.Body) seen += response.bodyEnd - response.bodyStart;
          else if (read === Read.End) break;
          else throw new Error(`error ${response.errorCode}`);
        }
      }
      return seen;
    },
  });
  const { head } = response;
  return [
    requestLine('parse small request', SMALL_REQUEST, false),
    requestLine('parse small request, all strings', SMALL_REQUEST, true),
    responseLine('parse typical response', TYPICAL_RESPONSE, () => head.count),
    responseLine(
      'parse typical response, 3 values',
      TYPICAL_RESPONSE,
      () =>
        head.valueOf(KnownField.ContentType)!.length +
        head.valueOf(KnownField.XRequestId)!.length +
        head.valueOf(KnownField.Date)!.length,
    ),
    responseLine(
      'parse typical response, all strings',
      TYPICAL_RESPONSE,
      () => head.rawPairs().length,
    ),
    requestLine('parse 30-field request', BROWSER_REQUEST, false),
    requestLine('parse 30-field request, all strings', BROWSER_REQUEST, true),
    responseLine('parse chunked 64 KB in 16', CHUNKED_RESPONSE, () => head.count),
    {
      name: 'parse typical response byte by byte',
      bytes: TYPICAL_RESPONSE.length,
      run(count) {
        let seen = 0;
        for (let i = 0; i < count; i++) {
          response.begin(false, false, false);
          for (let at = 0; at < TYPICAL_RESPONSE.length; at++) {
            while (response.read(TYPICAL_RESPONSE, at, at + 1) !== Read.NeedMore) {
              seen++;
              if (!response.active || response.position > at) break;
            }
          }
        }
        return seen;
      },
    },
  ];
}

function writeLines(): Line[] {
  const writer = new HeadWriter();
  const target = Buffer.alloc(4096);
  const block = new FieldBlock(['user-agent', 'onehop', 'accept', '*/*']);
  const build = (): string => {
    writer.beginRequest('POST', '/v1/chat/completions', 'localhost:8080');
    writer.field('content-type', 'application/json');
    writer.field('authorization', 'Bearer sk-0123456789abcdef0123456789abcdef');
    writer.field('x-request-id', '0b7c5d1e-93a4-4f0e-8f43-5e8f1c2d3a4b');
    writer.block(block);
    return writer.end(Framing.Length, 512, Connection.KeepAlive);
  };
  const parser = new ResponseParser();
  parser.begin();
  readWhole(parser, TYPICAL_RESPONSE);
  const filter = new HopByHopFilter();
  const forward = (): string => {
    filter.apply(parser.head, parser.head.nominates);
    writer.beginResponse(200, null, 1);
    writer.copyEndToEnd(parser.head, filter);
    return writer.end(Framing.Length, 50, Connection.KeepAlive);
  };
  const line = (name: string, make: () => string, put: boolean): Line => ({
    name,
    bytes: make().length,
    run(count) {
      let seen = 0;
      for (let i = 0; i < count; i++) {
        const text = make();
        seen += put ? writeInto(target, 0, text) : text.length;
      }
      return seen;
    },
  });
  return [
    line('write request head, string', build, false),
    line('write request head, into bytes', build, true),
    line('forward typical response head, string', forward, false),
    line('forward typical response head, into bytes', forward, true),
    {
      name: 'chunk heads, into bytes',
      bytes: 6,
      run(count) {
        let seen = LAST_CHUNK.length;
        for (let i = 0; i < count; i++) seen += writeChunkHead(target, 0, 4096 + (i & 1023));
        return seen;
      },
    },
    {
      name: 'chunk heads, string',
      bytes: 6,
      run(count) {
        let seen = 0;
        for (let i = 0; i < count; i++) seen += chunkHead(4096 + (i & 1023)).length;
        return seen;
      },
    },
  ];
}

/** The parser of node:http, where it can be reached. */
async function llhttpLines(): Promise<Line[]> {
  if ('bun' in process.versions) return [];
  let Parser: (new () => LlhttpParser) & Record<string, number>;
  try {
    const name = 'node:_http_common';
    Parser = ((await import(name)) as { HTTPParser: typeof Parser }).HTTPParser;
    if (typeof Parser !== 'function') return [];
  } catch {
    return [];
  }
  const line = (name: string, kind: 'REQUEST' | 'RESPONSE', bytes: Buffer): Line => {
    let seen = 0;
    let ended = 0;
    const parser = new Parser();
    parser.initialize(Parser[kind]!, {});
    // Fields beyond what fits into one call come through OnHeaders first.
    parser[Parser['kOnHeaders']!] = (fields: string[]) => {
      seen += fields.length;
    };
    parser[Parser['kOnHeadersComplete']!] = (_major: number, _minor: number, fields?: string[]) => {
      if (fields !== undefined) seen += fields.length;
      return 0;
    };
    parser[Parser['kOnBody']!] = () => {
      seen++;
    };
    parser[Parser['kOnMessageComplete']!] = () => {
      ended++;
    };
    return {
      name: `llhttp: ${name}`,
      bytes: bytes.length,
      run(count) {
        ended = 0;
        for (let i = 0; i < count; i++) parser.execute(bytes, 0, bytes.length);
        if (ended !== count) throw new Error(`llhttp ended ${ended} of ${count}`);
        return seen;
      },
    };
  };
  return [
    line('small request', 'REQUEST', SMALL_REQUEST),
    line('typical response', 'RESPONSE', TYPICAL_RESPONSE),
    line('30-field request', 'REQUEST', BROWSER_REQUEST),
    line('chunked 64 KB in 16', 'RESPONSE', CHUNKED_RESPONSE),
  ];
}

interface LlhttpParser {
  initialize(type: number, resource: object): void;
  execute(bytes: Buffer, start: number, length: number): unknown;
  [callback: number]: unknown;
}

interface Result {
  name: string;
  bytes: number;
  wallNsPerMessage: number;
  cpuNsPerMessage: number;
  mbPerSecond: number;
  roundsWallNs: number[];
}

const median = (values: number[]): number =>
  values.slice().sort((a, b) => a - b)[values.length >> 1]!;

/** Keeps results alive, so that no loop can be optimised away. */
let sink = 0;

function measure(lines: Line[], rounds: number, roundMs: number): Result[] {
  const counts = lines.map((line) => {
    sink += line.run(2000);
    let count = 1000;
    for (;;) {
      const started = performance.now();
      sink += line.run(count);
      const took = performance.now() - started;
      if (took > roundMs / 2) return Math.max(1, Math.round((count * roundMs) / took));
      count *= 2;
    }
  });
  const wall: number[][] = lines.map(() => []);
  const cpu: number[][] = lines.map(() => []);
  for (let round = 0; round < rounds; round++) {
    const order = lines.map((_, i) => (round % 2 === 0 ? i : lines.length - 1 - i));
    for (const i of order) {
      const before = process.cpuUsage();
      const started = performance.now();
      sink += lines[i]!.run(counts[i]!);
      const took = performance.now() - started;
      const used = process.cpuUsage(before);
      wall[i]!.push((took * 1e6) / counts[i]!);
      cpu[i]!.push(((used.user + used.system) * 1e3) / counts[i]!);
    }
  }
  return lines.map((line, i) => {
    const wallNs = median(wall[i]!);
    return {
      name: line.name,
      bytes: line.bytes,
      wallNsPerMessage: Math.round(wallNs),
      cpuNsPerMessage: Math.round(median(cpu[i]!)),
      mbPerSecond: Math.round((line.bytes / wallNs) * 1000),
      roundsWallNs: wall[i]!.map(Math.round),
    };
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      out: { type: 'string' },
      rounds: { type: 'string', default: '7' },
      'round-ms': { type: 'string', default: '60' },
      only: { type: 'string', default: '' },
    },
  });
  const runtime = 'bun' in process.versions ? 'bun' : 'node';
  const version = process.versions[runtime as 'node'];
  const lines = [...parseLines(), ...writeLines(), ...(await llhttpLines())].filter(({ name }) =>
    name.includes(values.only),
  );
  const results = measure(lines, Number(values.rounds), Number(values['round-ms']));
  console.log(`${runtime} ${version}`);
  for (const result of results) {
    console.log(
      `${result.name.padEnd(44)} ${String(result.wallNsPerMessage).padStart(7)} ns ` +
        `${String(result.cpuNsPerMessage).padStart(7)} ns CPU ${String(result.mbPerSecond).padStart(6)} MB/s`,
    );
  }
  if (values.out !== undefined) {
    const file = join(values.out, `codec-${runtime}.json`);
    mkdirSync(dirname(file), { recursive: true });
    const report = { runtime, version, date: new Date().toISOString(), results, sink: sink & 1 };
    writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
    console.log(`written to ${file}`);
  }
}

await main();
