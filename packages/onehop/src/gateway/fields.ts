/**
 * The fields a gateway forwards in both directions: end-to-end ones as they came, its own instead of
 * those a caller must not forge. Framing and Connection are never forwarded but written anew.
 */
import {
  FieldBlock,
  type Framing,
  type HeaderTable,
  HopByHopFilter,
  KnownField,
  knownFieldOfName,
  type RequestHead,
  type ResponseHead,
} from '../http1/index.ts';
import { KeptReply } from '../server/index.ts';
import type { FieldRules } from './tables.ts';

const filter = new HopByHopFilter();

const marksOf = (...ids: number[]): Uint8Array => {
  const marks = new Uint8Array(64);
  for (const id of ids) marks[id] = 1;
  return marks;
};

/** Written anew or answered here. */
const REQUEST_DROP = marksOf(
  KnownField.Host,
  KnownField.ContentLength,
  KnownField.Expect,
  KnownField.MaxForwards,
  KnownField.Proxy,
  KnownField.ProxyAuthorization,
  KnownField.Trailer,
  KnownField.XRequestId,
);
/** What an untrusted caller says about itself is replaced by what we see of it. */
const REQUEST_DROP_UNTRUSTED = REQUEST_DROP.slice();
for (const id of [
  KnownField.Forwarded,
  KnownField.XForwardedFor,
  KnownField.XForwardedProto,
  KnownField.XRealIp,
]) {
  REQUEST_DROP_UNTRUSTED[id] = 1;
}
/** Names outside the known ones that identify the caller as well. */
const IDENTITY_NAMES = ['x-forwarded-host', 'x-forwarded-port', 'x-forwarded-server'];

const RESPONSE_DROP = marksOf(
  KnownField.ContentLength,
  KnownField.ProxyAuthenticate,
  KnownField.Trailer,
  KnownField.XRequestId,
);
const RESPONSE_DROP_NAMES = ['x-onehop-upstream', 'x-onehop-attempts', 'x-onehop-error'];

const TRAILER_DROP = marksOf(KnownField.XRequestId);
const TRAILER_DROP_NAMES = [...IDENTITY_NAMES, ...RESPONSE_DROP_NAMES];

/** Fields that the gateway adds to requests and responses, unless a rule of the route says otherwise. */
export const OWN_NAMES: readonly string[] = [
  'max-forwards',
  'server-timing',
  'via',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-onehop-attempts',
  'x-request-id',
];

/** The gateway's own field lines without those that the route sets or removes. */
function ownLines(lines: string, rules: FieldRules | null): string {
  if (rules === null || rules.ownNames === null) return lines;
  const names = rules.ownNames;
  return lines
    .split(/(?<=\r\n)/)
    .filter((line) => !names.has(line.slice(0, line.indexOf(':'))))
    .join('');
}

const UNDERSCORE = 0x5f;

/**
 * Whether a name is another spelling of a field that frames, routes or identifies, with `_` for `-`:
 * CGI-style servers do not tell them apart (CVE-2025-64484).
 */
function isUnderscoreTwin(head: HeaderTable, index: number): boolean {
  const { bytes } = head;
  const end = head.nameEnd(index);
  for (let at = head.nameStart(index); at < end; at++) {
    if (bytes[at] === UNDERSCORE) {
      const name = head
        .nameLower(index)
        .replaceAll('_', '-')
        .replace(/^-+|-+$/g, '');
      return knownFieldOfName(name) !== 0 || IDENTITY_NAMES.includes(name);
    }
  }
  return false;
}

/** Marks what `drop` and the rules of the route take away. */
function applyRules(
  head: HeaderTable,
  drop: Uint8Array,
  names: readonly string[],
  rules: FieldRules | null,
  twins: boolean,
): void {
  const count = head.count;
  for (let index = 0; index < count; index++) {
    const id = head.ids[index]!;
    if (id !== 0) {
      if (drop[id] === 1 || (rules !== null && rules.dropKnown[id] === 1)) filter.mark(index);
      continue;
    }
    if (twins && isUnderscoreTwin(head, index)) filter.mark(index);
    for (const name of names) if (head.nameEquals(index, name)) filter.mark(index);
    if (rules !== null) {
      for (const name of rules.dropNames) if (head.nameEquals(index, name)) filter.mark(index);
    }
  }
}

/** An IPv4 address that a dual-stack listener shows as IPv6, as people write it. */
export const plainAddress = (address: string): string =>
  address.startsWith('::ffff:') ? address.slice(7) : address;

/** The lines about a caller that is not trusted to speak for itself, kept for its next request. */
let lastAddress = '';
let lastCaller = callerLines('');

function callerLines(address: string): string {
  const peer = plainAddress(address);
  const known = peer === '' ? '' : `x-forwarded-for: ${peer}\r\n`;
  return `${known}x-forwarded-proto: http\r\n`;
}

/** Field lines that say who called. */
function identity(head: RequestHead, address: string, trusted: boolean): string {
  if (!trusted) {
    if (address !== lastAddress) {
      lastAddress = address;
      lastCaller = callerLines(address);
    }
    return lastCaller + via(head);
  }
  const peer = plainAddress(address);
  const given = head.getAll('x-forwarded-for').join(', ');
  const earlier = given === '' ? '' : `${given}, `;
  const proto = head.has(KnownField.XForwardedProto) ? '' : 'x-forwarded-proto: http\r\n';
  const known = peer === '' ? '' : `x-forwarded-for: ${earlier}${peer}\r\n`;
  return known + proto + via(head);
}

const via = (head: RequestHead): string =>
  head.versionMinor === 1 ? 'via: 1.1 onehop\r\n' : `via: 1.${head.versionMinor} onehop\r\n`;

/** OPTIONS counts its hops down (RFC 9110 section 7.6.2); for other methods the field is no concern. */
function maxForwards(head: RequestHead): string {
  const given = head.valueOf(KnownField.MaxForwards)!;
  if (head.method !== 'OPTIONS' || !/^\d{1,9}$/.test(given)) return `max-forwards: ${given}\r\n`;
  return `max-forwards: ${Number(given) - 1}\r\n`;
}

/** The field lines of the upstream request but for its id. `address` is the caller's. */
export function requestFields(
  head: RequestHead,
  rules: FieldRules | null,
  address: string,
  trusted: boolean,
): string {
  filter.apply(head, head.nominates);
  const drop = trusted ? REQUEST_DROP : REQUEST_DROP_UNTRUSTED;
  applyRules(head, drop, trusted ? [] : IDENTITY_NAMES, rules, true);
  if (trusted) {
    for (let i = head.indexOf(KnownField.XForwardedFor); i >= 0; ) {
      filter.mark(i);
      i = head.indexOf(KnownField.XForwardedFor, i + 1);
    }
  }
  let own = identity(head, address, trusted);
  if (head.has(KnownField.MaxForwards)) own += maxForwards(head);
  const forwarded = filter.collectText(head) + ownLines(own, rules);
  return rules === null ? forwarded : forwarded + rules.add.text;
}

const isEvents = (head: ResponseHead): boolean =>
  head.valueOf(KnownField.ContentType)?.startsWith('text/event-stream') === true;

/** What is derived from a response head that comes again byte for byte; see head-plan.ts. */
class ResponsePlan {
  readonly rules: FieldRules | null;
  readonly text: string;
  readonly status: number;
  readonly framing: Framing;
  readonly contentLength: number;
  readonly hasDate: boolean;
  readonly isEventStream: boolean;
  /** The whole head; null where the route sets the id that differs. */
  readonly reply: KeptReply | null;

  constructor(head: ResponseHead, rules: FieldRules | null, text: string) {
    this.rules = rules;
    this.text = text;
    this.status = head.status;
    this.framing = head.framing;
    this.contentLength = head.contentLength;
    this.hasDate = head.has(KnownField.Date);
    this.isEventStream = isEvents(head);
    const own = rules?.ownNames?.has('x-request-id') === true;
    this.reply = own ? null : new KeptReply('x-request-id');
  }

  /** Whether both give the same head, and a body of the same kind. */
  same(other: ResponsePlan): boolean {
    return (
      this.rules === other.rules &&
      this.text === other.text &&
      this.status === other.status &&
      this.framing === other.framing &&
      this.contentLength === other.contentLength &&
      this.hasDate === other.hasDate &&
      // Not in the text where a rule replaces Content-Type.
      this.isEventStream === other.isEventStream
    );
  }
}

/** Made last: connections with the same answers share it, so that many of them touch little memory. */
let lastPlan: ResponsePlan | null = null;

function planOf(head: ResponseHead, rules: FieldRules | null): ResponsePlan | null {
  const plan = head.derived as ResponsePlan | null;
  return plan !== null && plan.rules === rules ? plan : null;
}

/** The downstream head of a response that came before; null when there is none. */
export const keptReply = (head: ResponseHead, rules: FieldRules | null): KeptReply | null =>
  planOf(head, rules)?.reply ?? null;

/** Whether the body is a stream of server-sent events. */
export const isEventStream = (head: ResponseHead, rules: FieldRules | null): boolean =>
  planOf(head, rules)?.isEventStream ?? isEvents(head);

/** The field lines of the downstream response, without Date, framing and the gateway's own. */
function responseText(head: ResponseHead, rules: FieldRules | null): string {
  const plan = planOf(head, rules);
  if (plan !== null) return plan.text;
  filter.apply(head, head.nominates);
  applyRules(head, RESPONSE_DROP, RESPONSE_DROP_NAMES, rules, false);
  const forwarded = filter.collectText(head);
  const text = rules === null ? forwarded : forwarded + rules.add.text;
  if (head.repeated) {
    const made = new ResponsePlan(head, rules, text);
    if (lastPlan?.same(made) !== true) lastPlan = made;
    head.derived = lastPlan;
  }
  return text;
}

/** The fields of the downstream response, without Date and framing; `extra`: lines of our own. */
export function responseFields(
  head: ResponseHead,
  rules: FieldRules | null,
  extra: string,
): FieldBlock {
  return FieldBlock.ofChecked(responseText(head, rules) + ownLines(extra, rules));
}

/** Trailer fields to pass on, in either direction: never one that the gateway itself answers for. */
export function trailerFields(trailers: HeaderTable, rules: FieldRules | null): FieldBlock {
  filter.apply(trailers, false);
  applyRules(trailers, TRAILER_DROP, TRAILER_DROP_NAMES, rules, true);
  return filter.collect(trailers);
}

/** Fields of an interim response (RFC 9110 section 15.2): Link and the like. */
export function interimFields(head: ResponseHead, rules: FieldRules | null): FieldBlock {
  filter.apply(head, head.nominates);
  applyRules(head, RESPONSE_DROP, RESPONSE_DROP_NAMES, rules, false);
  return filter.collect(head);
}
