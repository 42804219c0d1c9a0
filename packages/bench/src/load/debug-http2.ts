/** `--debug` over HTTP/2: the fields as they are on the wire, one a line. */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import { CliError } from '../cli-error.ts';
import { codeName, Http2Connection } from './http2-connection.ts';
import type { PreparedRequest } from './request.ts';

function fieldLines(fields: OutgoingHttpHeaders | IncomingHttpHeaders): string {
  let text = '';
  for (const [name, value] of Object.entries(fields)) {
    for (const each of [value].flat()) text += `${name}: ${each}\n`;
  }
  return text;
}

/** Resolves to both messages as text. @throws CliError when there is no answer within `limitMs` */
export function debugHttp2(request: PreparedRequest, limitMs: number): Promise<string> {
  const { fields, body } = request.http2!;
  return new Promise((resolve, reject) => {
    const finish = (problem: string | null, received = ''): void => {
      clearTimeout(deadline);
      connection.destroy();
      const sent = `${fieldLines(fields)}\n${Buffer.from(body ?? '').toString('utf8')}`;
      if (problem === null) resolve(`${sent}\n\n${received}\n`);
      else reject(new CliError(`${request.url.href}: ${problem}`));
    };
    const connection = new Http2Connection(request.origin, {
      opened() {
        const stream = connection.session!.request(fields, { endStream: body === null });
        let head = '';
        const chunks: Buffer[] = [];
        stream.on('response', (headers) => {
          head = fieldLines(headers);
        });
        stream.on('data', (chunk: Buffer) => chunks.push(chunk));
        stream.on('error', (error) => finish(error.message));
        stream.on('close', () => {
          const { rstCode } = stream;
          const problem = rstCode ? `stream reset: ${codeName(rstCode)}` : null;
          finish(problem, `${head}\n${Buffer.concat(chunks).toString('utf8')}`);
        });
        if (body !== null) stream.end(body);
      },
      openFailed: (_connection, text) => finish(text),
      goaway() {},
      closed: () => finish('the connection ended before the answer'),
    });
    const deadline = setTimeout(() => finish('no answer in time'), limitMs);
  });
}
