/**
 * What a stand-in can do wrong, chosen per request by the header `x-mock-fault` or the query
 * parameter `fault`, or for all by the command line. Some take an argument: `drip:50`.
 */

export interface Fault {
  readonly name: FaultName;
  /** Milliseconds or, for `status`, the status; the default of {@link FAULTS} when not given. */
  readonly value: number;
}

interface FaultSpec {
  readonly help: string;
  /** What the argument means and what it is by default; absent when there is none. */
  readonly argument?: { readonly what: string; readonly default: number };
}

export const FAULTS = {
  silence: { help: 'takes the request and never answers' },
  'head-silence': { help: 'sends the head, then nothing' },
  'reset-before-head': { help: 'resets the connection instead of answering' },
  'reset-in-head': { help: 'sends half of the head, then resets' },
  'reset-after-head': { help: 'sends the head, then resets' },
  'reset-in-body': { help: 'sends half of the body, then resets' },
  'reset-after-body': { help: 'resets right behind the complete response' },
  'close-in-head': { help: 'sends half of the head, then closes' },
  'close-in-body': { help: 'sends half of the body, then closes' },
  'length-long': { help: 'Content-Length promises 10 bytes more than come' },
  'length-short': { help: 'Content-Length promises half of the bytes that come' },
  'both-framings': { help: 'Content-Length and Transfer-Encoding in one head' },
  'bad-chunk': { help: 'a chunk size that is not hexadecimal, after half of the body' },
  'error-event': { help: 'status 200 and a stream that ends with an error event' },
  drip: { help: 'one byte at a time', argument: { what: 'ms between bytes', default: 20 } },
  close: { help: 'closes after the response and says so' },
  'close-silent': { help: 'closes after the response without having said so' },
  stale: {
    help: 'advertises Keep-Alive: timeout=60 and closes early',
    argument: { what: 'ms until it closes', default: 50 },
  },
  'garbage-idle': {
    help: 'sends bytes nobody asked for on the idle connection',
    argument: { what: 'ms after the response', default: 20 },
  },
  status: { help: 'an error answer of the service', argument: { what: 'status', default: 503 } },
} as const satisfies Record<string, FaultSpec>;

export type FaultName = keyof typeof FAULTS;

/** Reads `name` or `name:argument`. Throws a RangeError that names the known faults. */
export function parseFault(text: string): Fault {
  const colon = text.indexOf(':');
  const name = colon < 0 ? text : text.slice(0, colon);
  if (!Object.hasOwn(FAULTS, name)) {
    throw new RangeError(`"${name}" is no fault; known are ${Object.keys(FAULTS).join(', ')}`);
  }
  const spec: FaultSpec = FAULTS[name as FaultName];
  const argument = colon < 0 ? null : text.slice(colon + 1);
  if (argument === null) return { name: name as FaultName, value: spec.argument?.default ?? 0 };
  const value = /^\d{1,6}$/.test(argument) ? Number(argument) : Number.NaN;
  const fits = name === 'status' ? value >= 200 && value <= 599 : value <= 600_000;
  if (spec.argument === undefined || !fits) {
    throw new RangeError(
      spec.argument === undefined
        ? `${name} takes no argument`
        : `the argument of ${name} is ${spec.argument.what}`,
    );
  }
  return { name: name as FaultName, value };
}

/** What is written, when, and how it ends. */
export interface FaultPlan {
  /** Pieces in order, each `afterMs` behind the one before it. */
  readonly steps: readonly { readonly bytes: Buffer; readonly afterMs: number }[];
  /** `hang`: the connection stays as it is until the peer closes it. */
  readonly last: 'hang' | 'end' | 'reset';
  /** Between the last piece and {@link last}: long enough for the peer to have read it. */
  readonly lastAfterMs: number;
}

/** A response taken apart. */
export interface FaultParts {
  /** Status line and fields without framing and without the empty line. */
  readonly head: string;
  readonly body: Buffer;
  readonly chunked: boolean;
}

const noticeMs = 20;
const empty = Buffer.alloc(0);
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

function chunks(body: Buffer): Buffer {
  if (body.length === 0) return empty;
  return Buffer.concat([latin1(`${body.length.toString(16)}\r\n`), body, latin1('\r\n')]);
}

/** The bytes a fault sends. Only for faults that {@link isRaw}. */
export function planFault(fault: Fault, parts: FaultParts): FaultPlan {
  const { body, chunked } = parts;
  const half = body.subarray(0, body.length >> 1);
  const framing = chunked ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${body.length}\r\n`;
  const head = latin1(`${parts.head}${framing}\r\n`);
  const firstHalf = chunked ? chunks(half) : half;
  const whole = chunked ? Buffer.concat([chunks(body), latin1('0\r\n\r\n')]) : body;
  const plan = (pieces: Buffer[], last: FaultPlan['last'], lastAfterMs = noticeMs): FaultPlan => ({
    steps: pieces.map((bytes) => ({ bytes, afterMs: 0 })),
    last,
    lastAfterMs,
  });
  const withLength = (length: number): Buffer =>
    latin1(`${parts.head}Content-Length: ${length}\r\n\r\n`);
  switch (fault.name) {
    case 'head-silence':
      return plan([head], 'hang');
    case 'reset-before-head':
      return plan([], 'reset', 0);
    case 'reset-in-head':
      return plan([head.subarray(0, head.length >> 1)], 'reset');
    case 'close-in-head':
      return plan([head.subarray(0, head.length >> 1)], 'end');
    case 'reset-after-head':
      return plan([head], 'reset');
    case 'reset-in-body':
      return plan([Buffer.concat([head, firstHalf])], 'reset');
    case 'close-in-body':
      return plan([Buffer.concat([head, firstHalf])], 'end');
    case 'reset-after-body':
      return plan([Buffer.concat([head, whole])], 'reset');
    case 'length-long':
      return plan([Buffer.concat([withLength(body.length + 10), body])], 'end');
    case 'length-short':
      return plan([Buffer.concat([withLength(body.length >> 1), body])], 'end', 200);
    case 'both-framings': {
      const both = `${parts.head}Content-Length: ${body.length}\r\nTransfer-Encoding: chunked\r\n\r\n`;
      return plan([Buffer.concat([latin1(both), chunks(body), latin1('0\r\n\r\n')])], 'end', 200);
    }
    case 'bad-chunk': {
      const start = latin1(`${parts.head}Transfer-Encoding: chunked\r\n\r\n`);
      return plan(
        [Buffer.concat([start, chunks(half), latin1('xyz\r\nnonsense\r\n')])],
        'end',
        200,
      );
    }
    case 'drip': {
      const bytes = Buffer.concat([head, whole]);
      const steps = Array.from(bytes, (_, i) => ({
        bytes: bytes.subarray(i, i + 1),
        afterMs: fault.value,
      }));
      return { steps, last: 'end', lastAfterMs: 200 };
    }
    case 'close-silent':
      return plan([Buffer.concat([head, whole])], 'end', 0);
    case 'stale': {
      const promise = latin1(`${parts.head}Keep-Alive: timeout=60\r\n${framing}\r\n`);
      return plan([Buffer.concat([promise, whole])], 'end', fault.value);
    }
    case 'garbage-idle': {
      const garbage = latin1('HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngarbage');
      return {
        steps: [
          { bytes: Buffer.concat([head, whole]), afterMs: 0 },
          { bytes: garbage, afterMs: fault.value },
        ],
        last: 'hang',
        lastAfterMs: 0,
      };
    }
    default:
      return plan([], 'hang');
  }
}

/** Whether the fault needs the bare connection; the others are ordinary answers. */
export function isRaw(fault: Fault): boolean {
  return fault.name !== 'error-event' && fault.name !== 'close' && fault.name !== 'status';
}
