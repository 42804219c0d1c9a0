import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { FAULTS, parseFault } from './faults.ts';
import { startOpenAiService } from './openai.ts';
import { startPlainService } from './plain.ts';
import type { Service, ServiceCounters } from './service.ts';

/** What a raw client observes of one request. */
interface Observed {
  text: string;
  end: 'fin' | 'reset' | 'open';
  /** When the last byte and the end came, in milliseconds after the connect began. */
  lastMs: number;
  endMs: number;
}

/** Ends with the peer, `waitMs` after the request, or 60 ms after `enough` holds. */
function observe(
  port: number,
  request: string,
  waitMs: number,
  enough: (text: string) => boolean = () => false,
): Promise<Observed> {
  return new Promise((resolve) => {
    const startMs = performance.now();
    const since = (): number => performance.now() - startMs;
    const seen: Observed = { text: '', end: 'open', lastMs: 0, endMs: 0 };
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const finish = (end: Observed['end']): void => {
      if (seen.endMs !== 0) return;
      seen.end = end;
      seen.endMs = since();
      clearTimeout(timer);
      socket.destroy();
      resolve(seen);
    };
    const timer = setTimeout(() => finish('open'), waitMs);
    socket.on('connect', () => socket.write(request));
    socket.on('data', (bytes) => {
      seen.lastMs = since();
      seen.text += bytes.toString('latin1');
      if (enough(seen.text)) setTimeout(() => finish('open'), 60);
    });
    socket.on('end', () => finish('fin'));
    socket.on('error', () => finish('reset'));
    socket.on('close', () => finish('fin'));
  });
}

const get = (path: string, fields = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: m.test\r\n${fields}\r\n`;
const size = 64;

async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 2000 && !done(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** What the bytes look like; `complete`: head and body as announced. */
const expectations: Record<
  string,
  { end: Observed['end']; looks: RegExp; check?: (seen: Observed) => void }
> = {
  silence: { end: 'open', looks: /^$/ },
  'head-silence': {
    end: 'open',
    looks: /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 64\r\n\r\n$/,
  },
  'reset-before-head': { end: 'reset', looks: /^$/ },
  'reset-in-head': { end: 'reset', looks: /^HTTP\/1\.1 200(?![\s\S]*\r\n\r\n)/ },
  'reset-after-head': { end: 'reset', looks: /\r\n\r\n$/ },
  'reset-in-body': { end: 'reset', looks: /Content-Length: 64\r\n\r\n[\s\S]{32}$/ },
  'reset-after-body': { end: 'reset', looks: /Content-Length: 64\r\n\r\n[\s\S]{64}$/ },
  'close-in-head': { end: 'fin', looks: /^HTTP\/1\.1 200(?![\s\S]*\r\n\r\n)/ },
  'close-in-body': { end: 'fin', looks: /Content-Length: 64\r\n\r\n[\s\S]{32}$/ },
  'length-long': { end: 'fin', looks: /Content-Length: 74\r\n\r\n[\s\S]{64}$/ },
  'length-short': { end: 'fin', looks: /Content-Length: 32\r\n\r\n[\s\S]{64}$/ },
  'both-framings': {
    end: 'fin',
    looks: /Content-Length: 64\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n[\s\S]{64}\r\n0\r\n\r\n$/,
  },
  'bad-chunk': { end: 'fin', looks: /chunked\r\n\r\n20\r\n[\s\S]{32}\r\nxyz\r\nnonsense\r\n$/ },
  'error-event': {
    end: 'open',
    looks: /event-stream[\s\S]*data: \{"value":1\}\n\n[\s\S]*event: error\ndata: [\s\S]*0\r\n\r\n$/,
  },
  'drip:2': {
    end: 'fin',
    looks: /Content-Length: 64\r\n\r\n[\s\S]{64}$/,
    check: (seen) => assert.ok(seen.lastMs > 150, `${seen.lastMs}`),
  },
  close: { end: 'fin', looks: /Connection: close\r\n[\s\S]*\r\n\r\n[\s\S]{64}$/ },
  'close-silent': { end: 'fin', looks: /^(?![\s\S]*Connection: close)[\s\S]*\r\n\r\n[\s\S]{64}$/ },
  'stale:80': {
    end: 'fin',
    looks: /Keep-Alive: timeout=60\r\n[\s\S]*\r\n\r\n[\s\S]{64}$/,
    check: (seen) => assert.ok(seen.endMs > 78, `${seen.endMs}`),
  },
  'garbage-idle:60': {
    end: 'open',
    looks: /\r\n\r\n[\s\S]{64}HTTP\/1\.1 200 OK\r\nContent-Length: 7\r\n\r\ngarbage$/,
    check: (seen) => assert.ok(seen.lastMs > 58, `${seen.lastMs}`),
  },
  'status:429': { end: 'open', looks: /^HTTP\/1\.1 429 [\s\S]*Retry-After: 1\r\n/ },
};

describe('faults as a raw client sees them', () => {
  let service: Service;
  before(async () => {
    service = await startPlainService({ sizeBytes: size });
  });
  after(() => service.close());

  test('every fault has an expectation here', () => {
    const tested = Object.keys(expectations).map((text) => parseFault(text).name);
    assert.deepEqual([...tested].sort(), Object.keys(FAULTS).sort());
  });

  for (const [fault, { end, looks, check }] of Object.entries(expectations)) {
    for (const how of ['header', 'query'] as const) {
      test(`${fault}, chosen by ${how}`, async () => {
        const request =
          how === 'header' ? get('/', `X-Mock-Fault: ${fault}\r\n`) : get(`/?fault=${fault}`);
        // Silence is waited for; what is to come may take its time on a busy machine.
        const seen =
          end === 'open' && !looks.test('')
            ? await observe(service.port, request, 20_000, (text) => looks.test(text))
            : await observe(service.port, request, end === 'open' ? 150 : 20_000);
        assert.match(seen.text, looks);
        assert.equal(seen.end, end);
        check?.(seen);
      });
    }
  }

  test('a request behind a stale answer is counted as stray and gets nothing', async () => {
    service.resetCounters();
    const request = get('/?fault=stale:60') + get('/second');
    const seen = await observe(service.port, request, 20_000);
    assert.equal(seen.text.split('HTTP/1.1 ').length, 2);
    assert.equal(service.counters().requests, 1);
    assert.equal(service.counters().strayBytes, get('/second').length);
  });

  test('an unknown fault is 400 and names the known ones', async () => {
    const told = /^HTTP\/1\.1 400 [\s\S]*no fault; known are silence, /;
    const seen = await observe(service.port, get('/?fault=nope'), 20_000, (text) =>
      told.test(text),
    );
    assert.match(seen.text, told);
  });
});

test('a fault of the command line hits its share of the requests, and none opts out', async () => {
  const service = await startPlainService({
    fault: parseFault('status:503'),
    faultRate: 0.3,
    seed: 5,
  });
  try {
    const url = `http://127.0.0.1:${service.port}/`;
    let failed = 0;
    for (let i = 0; i < 200; i++) {
      const response = await fetch(url);
      await response.arrayBuffer();
      if (response.status === 503) failed++;
      const spared = await fetch(`${url}?fault=none`);
      await spared.arrayBuffer();
      assert.equal(spared.status, 200);
    }
    assert.ok(failed > 35 && failed < 90, `${failed} of 200`);
    assert.equal(service.counters().faults, failed);
  } finally {
    await service.close();
  }
});

describe('what the stand-in says it saw', () => {
  let service: Service;
  before(async () => {
    service = await startOpenAiService({
      tokenGap: { kind: 'fixed', ms: 15 },
      tokens: 200,
      seed: 1,
    });
  });
  after(() => service.close());

  const counters = async (): Promise<ServiceCounters> =>
    (await (
      await fetch(`http://127.0.0.1:${service.port}/_onehop/upstream/`)
    ).json()) as ServiceCounters;

  test('a request that breaks off is partial, not complete', async () => {
    service.resetCounters();
    const head = 'POST /v1/embeddings HTTP/1.1\r\nHost: m\r\nContent-Length: 100\r\n\r\n{"mod';
    await observe(service.port, head, 60);
    await until(() => service.counters().requestsPartial > 0);
    const seen = await counters();
    assert.equal(seen.requests, 1);
    assert.equal(seen.requestsComplete, 0);
    assert.equal(seen.requestsPartial, 1);
    assert.equal(seen.abortsSeen[0]!.phase, 'request');
    assert.equal(seen.concurrency, 0);
  });

  test('a stream that its reader leaves is an abort with the time of the close', async () => {
    service.resetCounters();
    const body = '{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}';
    const request = `POST /v1/chat/completions HTTP/1.1\r\nHost: m\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const wallMs = (): number => performance.timeOrigin + performance.now();
    let begunMs = 0;
    const seen = await observe(service.port, request, 20_000, (text) => {
      if (!text.includes('data: {')) return false;
      if (begunMs === 0) begunMs = wallMs();
      return true;
    });
    const leftMs = wallMs();
    assert.ok(seen.text.includes('data: {'));
    assert.ok(!seen.text.includes('[DONE]'));
    await until(() => service.counters().aborts > 0);
    const { abortsSeen, aborts, requestsComplete, concurrency } = await counters();
    assert.equal(aborts, 1);
    assert.equal(requestsComplete, 1);
    assert.equal(concurrency, 0);
    assert.equal(abortsSeen[0]!.phase, 'response');
    assert.ok(abortsSeen[0]!.bytesSent > 0);
    const { atMs } = abortsSeen[0]!;
    // It stays for 60 ms once the stream has begun; a clock may round by a millisecond.
    // Half a second is more than a busy machine needs and less than the stream would go on for.
    assert.ok(atMs >= begunMs + 58 && atMs <= leftMs + 500, `${begunMs} ${atMs} ${leftMs}`);
  });
});
