/**
 * The fields a gateway forwards in both directions: end-to-end ones as they came, its own instead of
 * those a caller must not forge. Framing and Connection are never forwarded but written anew.
 */
import {
  FieldBlock,
  type HeaderTable,
  HopByHopFilter,
  KnownField,
  knownFieldOfName,
  type RequestHead,
  type ResponseHead,
} from '../http1/index.ts';
import type { FieldRules } from './tables.ts';

const filter = new HopByHopFilter();

const marksOf = (...ids: number[]): Uint8Array => {
  const marks = new Uint8Array(64);
  for (const id of ids) marks[id] = 1;
  return marks;
};

/** Written anew or answered here: Expect is answered by the server half. */
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

/** Field lines that say who called and for which request; made once per exchange. */
function identity(head: RequestHead, address: string, requestId: string, trusted: boolean): string {
  if (!trusted) {
    if (address !== lastAddress) {
      lastAddress = address;
      lastCaller = callerLines(address);
    }
    return `${lastCaller}x-request-id: ${requestId}\r\n${via(head)}`;
  }
  const peer = plainAddress(address);
  const given = head.getAll('x-forwarded-for').join(', ');
  const earlier = given === '' ? '' : `${given}, `;
  const proto = head.has(KnownField.XForwardedProto) ? '' : 'x-forwarded-proto: http\r\n';
  const known = peer === '' ? '' : `x-forwarded-for: ${earlier}${peer}\r\n`;
  return `${known}${proto}x-request-id: ${requestId}\r\n${via(head)}`;
}

const via = (head: RequestHead): string =>
  head.versionMinor === 1 ? 'via: 1.1 onehop\r\n' : `via: 1.${head.versionMinor} onehop\r\n`;

/** OPTIONS counts its hops down (RFC 9110 section 7.6.2); for other methods the field is no concern. */
function maxForwards(head: RequestHead): string {
  const given = head.valueOf(KnownField.MaxForwards)!;
  if (head.method !== 'OPTIONS' || !/^\d{1,9}$/.test(given)) return `max-forwards: ${given}\r\n`;
  return `max-forwards: ${Number(given) - 1}\r\n`;
}

/** The fields of the upstream request. `address` is the caller's. */
export function requestFields(
  head: RequestHead,
  rules: FieldRules | null,
  address: string,
  requestId: string,
  trusted: boolean,
): FieldBlock {
  filter.apply(head, head.nominates);
  const drop = trusted ? REQUEST_DROP : REQUEST_DROP_UNTRUSTED;
  applyRules(head, drop, trusted ? [] : IDENTITY_NAMES, rules, true);
  if (trusted) {
    for (let i = head.indexOf(KnownField.XForwardedFor); i >= 0; ) {
      filter.mark(i);
      i = head.indexOf(KnownField.XForwardedFor, i + 1);
    }
  }
  let own = identity(head, address, requestId, trusted);
  if (head.has(KnownField.MaxForwards)) own += maxForwards(head);
  const forwarded = filter.collectText(head) + own;
  return FieldBlock.ofChecked(rules === null ? forwarded : forwarded + rules.add.text);
}

/** The fields of the downstream response, without Date and framing. */
export function responseFields(
  head: ResponseHead,
  rules: FieldRules | null,
  extra: string,
): FieldBlock {
  filter.apply(head, head.nominates);
  applyRules(head, RESPONSE_DROP, RESPONSE_DROP_NAMES, rules, false);
  const forwarded = filter.collectText(head) + extra;
  return FieldBlock.ofChecked(rules === null ? forwarded : forwarded + rules.add.text);
}

/** Trailer fields to pass on, in either direction: never one that the gateway itself answers for. */
export function trailerFields(trailers: HeaderTable): FieldBlock {
  filter.apply(trailers, false);
  applyRules(trailers, TRAILER_DROP, TRAILER_DROP_NAMES, null, true);
  return filter.collect(trailers);
}

/** Fields of an interim response (RFC 9110 section 15.2): Link and the like. */
export function interimFields(head: ResponseHead): FieldBlock {
  filter.apply(head, head.nominates);
  applyRules(head, RESPONSE_DROP, RESPONSE_DROP_NAMES, null, false);
  return filter.collect(head);
}
