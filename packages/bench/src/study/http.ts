/** Small requests of the study to the processes it started: control routes and the first check. */
import { request } from 'node:http';

export interface PlainResponse {
  status: number;
  body: string;
}

/** One request on a connection of its own. Rejects when it cannot be answered in time. */
export function plainRequest(
  method: string,
  url: string,
  timeoutMs = 10_000,
  json: string | null = null,
): Promise<PlainResponse> {
  const headers = json === null ? {} : { 'content-type': 'application/json' };
  return new Promise((resolve, reject) => {
    const options = { method, headers, agent: false, timeout: timeoutMs };
    const outgoing = request(url, options, (incoming) => {
      let body = '';
      incoming.setEncoding('utf8');
      incoming.on('data', (text: string) => {
        body += text;
      });
      incoming.on('error', reject);
      incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body }));
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer in ${timeoutMs} ms`)));
    outgoing.on('error', reject);
    outgoing.end(json ?? undefined);
  });
}

/** Like {@link plainRequest}, for routes that answer 2xx with JSON (or with nothing: null). */
export async function jsonRequest<Value>(method: string, url: string): Promise<Value> {
  const { status, body } = await plainRequest(method, url);
  if (status < 200 || status > 299) {
    throw new Error(`${method} ${url} answered ${status}: ${body.slice(0, 200)}`);
  }
  return (body === '' ? null : JSON.parse(body)) as Value;
}
