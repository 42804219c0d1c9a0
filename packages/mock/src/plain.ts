/** A service that answers anything with as many bytes as it is told to. */
import { parseLatency } from './latency.ts';
import {
  argumentError,
  jsonReply,
  type MockRequest,
  type Reply,
  type Service,
  ServiceHost,
  type ServiceOptions,
} from './service.ts';

export interface PlainServiceOptions extends ServiceOptions {
  /** Bytes of each body, at most 1 GiB. Default 50. Query: `size`. */
  sizeBytes?: number;
  /** Default 200. Query: `status`. */
  status?: number;
  /** Default length. Query: `framing`. */
  framing?: 'length' | 'chunked';
}

const partBytes = 64 * 1024;
export const sizeBytesMax = 1024 * 1024 * 1024;

/** Printable bytes with a visible position, so that a lost or swapped range shows. */
function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 16) {
    bytes.write(`${at.toString(16).padStart(14, '.')}|\n`, at, 'latin1');
  }
  return bytes;
}

const wholePart = pattern(partBytes);

function bodyParts(sizeBytes: number): Buffer[] {
  const parts: Buffer[] = [];
  for (let left = sizeBytes; left > 0; left -= partBytes) {
    parts.push(left >= partBytes ? wholePart : wholePart.subarray(0, left));
  }
  return parts;
}

function number(text: string | null, min: number, max: number, otherwise: number): number {
  if (text === null) return otherwise;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    throw argumentError(`"${text}" is no whole number from ${min} to ${max}`);
  }
  return value;
}

function answer(request: MockRequest, options: PlainServiceOptions): Reply {
  const { query, fault } = request;
  const status =
    fault?.name === 'status'
      ? fault.value
      : number(query.get('status'), 200, 599, options.status ?? 200);
  const size = number(query.get('size'), 0, sizeBytesMax, options.sizeBytes ?? 50);
  const framing = query.get('framing') ?? options.framing ?? 'length';
  if (framing !== 'length' && framing !== 'chunked') {
    throw argumentError(`"${framing}" is no framing; use length or chunked`);
  }
  const latency = query.get('latency');
  const parts =
    fault?.name === 'error-event'
      ? [
          Buffer.from('data: {"value":1}\n\n'),
          Buffer.from('event: error\ndata: {"error":"mock"}\n\n'),
        ]
      : request.path === '/echo'
        ? [request.body]
        : bodyParts(size);
  const type = fault?.name === 'error-event' ? 'text/event-stream' : 'text/plain';
  const retry = status === 503 || status === 429 ? ['Retry-After', '1'] : [];
  return {
    status,
    fields: ['Content-Type', type, ...retry],
    parts,
    chunked: framing === 'chunked' || fault?.name === 'error-event',
    ...(latency === null ? {} : { latency: parseLatency(latency) }),
  };
}

/** Starts a plain service. Rejects with ADDRESS_IN_USE or LISTEN_FAILED. */
export function startPlainService(options: PlainServiceOptions = {}): Promise<Service> {
  return new ServiceHost(options, (request) => {
    try {
      return answer(request, options);
    } catch (error) {
      return jsonReply(400, { error: (error as Error).message });
    }
  }).listen();
}
