/** `--debug`: one request, shown as it goes out and as the answer comes in. */
import type { OnehopError } from 'onehop/core';
import { Read, ResponseParser } from 'onehop/http1';
import { type Socket, transport } from 'onehop/transport';
import { CliError } from '../cli-error.ts';
import { debugHttp2 } from './debug-http2.ts';
import { errorText } from './errors.ts';
import { Origins, prepareRequests } from './request.ts';
import type { LoadPlan } from './types.ts';

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');

/** Sends the first request of the plan and resolves to both messages as text. */
export async function debugRequest(plan: LoadPlan): Promise<string> {
  const origins = new Origins(plan);
  const [request] = await prepareRequests(plan, origins);
  const limitMs = plan.timeoutMs ?? plan.connectTimeoutMs + 30_000;
  if (request!.http2 !== null) return debugHttp2(request!, limitMs);
  const { origin, bytes, isHead } = request!;
  const parser = new ResponseParser();
  parser.begin(isHead);
  let received = '';
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => finish('no answer in time'), limitMs);
    let socket: Socket<null> | null = null;
    const finish = (problem: string | null): void => {
      clearTimeout(deadline);
      socket?.destroy();
      if (problem === null) resolve(`${text(bytes)}\n\n${received}\n`);
      else reject(new CliError(`${plan.url}: ${problem}`));
    };
    const read = (chunk: Uint8Array): void => {
      received += text(chunk);
      for (let at = 0; ; at = parser.position) {
        const what = parser.read(chunk, at, chunk.length);
        if (what === Read.End) finish(null);
        else if (what === Read.Error) finish(errorText('RESPONSE_INVALID'));
        else if (what !== Read.NeedMore) continue;
        return;
      }
    };
    socket = transport.connect<null>(
      origin.connect,
      {
        open: (open) => void open.write(bytes, 0, bytes.length),
        data: (_open, chunk) => read(chunk),
        drain() {},
        end: () => finish(parser.finish() === Read.End ? null : errorText('UPSTREAM_CLOSED')),
        close: (_open, error: OnehopError | null) =>
          finish(errorText(error?.code ?? 'UPSTREAM_CLOSED')),
      },
      null,
    );
  });
}
