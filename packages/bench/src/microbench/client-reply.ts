/** What the upstream of `bench:client` answers to `GET /N`: a head of known length and N bytes of JSON. */

export function replyHead(bodyBytes: number): string {
  return (
    `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${bodyBytes}\r\n` +
    'date: Mon, 23 Nov 2026 00:00:00 GMT\r\n\r\n'
  );
}

export function replyHeadBytes(bodyBytes: number): number {
  return replyHead(bodyBytes).length;
}

/** A JSON object of exactly `bytes` bytes, from 31 on. */
export function jsonOf(bytes: number): string {
  const frame = '{"id":1,"label":"","score":0.5}';
  return frame.replace('"label":""', `"label":"${'x'.repeat(Math.max(0, bytes - frame.length))}"`);
}
