import { Writable } from 'node:stream';
import { Pool, stream } from 'undici';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

interface Answer {
  status: number;
  chunks: Buffer[];
}

export const contestant: Contestant = {
  name: 'undici-stream',
  package: 'undici',
  runtimes: ['node'],
  modes: ['shared', 'per-request'],
  protocol: 'http/1.1',
  note: 'stream() into a Writable that gathers the chunks, JSON.parse; Pool as for undici-request',
  open({ baseUrl, connectionsMax, timeoutMs }) {
    const dispatcher = new Pool(new URL(baseUrl).origin, {
      connections: connectionsMax,
      pipelining: 1,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    return {
      async getJson(path) {
        const answer: Answer = { status: 0, chunks: [] };
        await stream(
          baseUrl + path,
          { dispatcher, method: 'GET', opaque: answer },
          ({ statusCode }) => {
            answer.status = statusCode;
            return new Writable({
              write(chunk: Buffer, _encoding, done) {
                answer.chunks.push(chunk);
                done();
              },
            });
          },
        );
        checkStatus(answer.status);
        return JSON.parse(Buffer.concat(answer.chunks).toString());
      },
      close: () => dispatcher.close(),
    };
  },
};
