import type { ClientHttp2Session } from 'node:http2';
import { connect } from 'node:http2';
import { checkStatus } from './failure.ts';
import type { Contestant } from './types.ts';

export const contestant: Contestant = {
  name: 'node-http2',
  package: null,
  runtimes: ['node', 'bun'],
  modes: ['shared', 'per-request'],
  protocol: 'h2c',
  note: 'http2.connect with prior knowledge, one session for all requests, a new one when it ends',
  open({ baseUrl, timeoutMs }) {
    const { origin, pathname } = new URL(baseUrl);
    let session: ClientHttp2Session | null = null;
    const acquire = (): ClientHttp2Session => {
      if (session !== null && !session.closed && !session.destroyed) return session;
      session = connect(origin);
      // Every open stream reports the failure itself; the session only must not throw it.
      session.on('error', () => {});
      return session;
    };
    return {
      getJson(path) {
        return new Promise((resolve, reject) => {
          const signal = AbortSignal.timeout(timeoutMs);
          const stream = acquire().request({ ':path': pathname + path }, { signal });
          const chunks: Buffer[] = [];
          let status = 0;
          let expected = -1;
          let received = 0;
          stream.on('response', (headers) => {
            status = headers[':status'] ?? 0;
            expected = Number(headers['content-length'] ?? -1);
          });
          stream.on('data', (chunk: Buffer) => {
            received += chunk.length;
            chunks.push(chunk);
          });
          stream.on('error', (error) => reject(signal.aborted ? signal.reason : error));
          stream.on('close', () => {
            try {
              if (stream.rstCode !== 0) throw new Error(`stream reset, code ${stream.rstCode}`);
              checkStatus(status);
              if (expected !== -1 && expected !== received) throw new Error('body is truncated');
              resolve(JSON.parse(Buffer.concat(chunks).toString()));
            } catch (error) {
              reject(error);
            }
          });
        });
      },
      close: () => session?.destroy(),
    };
  },
};
