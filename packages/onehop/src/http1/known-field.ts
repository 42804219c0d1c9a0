/**
 * Field names that the engine knows by number. A name is recognised by one multiplication and one
 * comparison, without making a string; consumers ask `head.valueOf(KnownField.ContentType)`.
 */

const NAMES = [
  '',
  'accept',
  'accept-encoding',
  'accept-language',
  'accept-ranges',
  'age',
  'allow',
  'alt-svc',
  'authorization',
  'cache-control',
  'connection',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-range',
  'content-type',
  'cookie',
  'date',
  'etag',
  'expect',
  'expires',
  'forwarded',
  'host',
  'http2-settings',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'keep-alive',
  'last-modified',
  'link',
  'location',
  'max-forwards',
  'origin',
  'pragma',
  'proxy',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'range',
  'referer',
  'retry-after',
  'sec-websocket-accept',
  'sec-websocket-key',
  'sec-websocket-version',
  'server',
  'set-cookie',
  'te',
  'traceparent',
  'tracestate',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
  'vary',
  'via',
  'www-authenticate',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-real-ip',
  'x-request-id',
] as const;

/** Number of a known field; 0 is any other name. Numbers stay below 64 (a mask of two words). */
export const KnownField = {
  Unknown: 0,
  Accept: 1,
  AcceptEncoding: 2,
  AcceptLanguage: 3,
  AcceptRanges: 4,
  Age: 5,
  Allow: 6,
  AltSvc: 7,
  Authorization: 8,
  CacheControl: 9,
  Connection: 10,
  ContentDisposition: 11,
  ContentEncoding: 12,
  ContentLanguage: 13,
  ContentLength: 14,
  ContentLocation: 15,
  ContentRange: 16,
  ContentType: 17,
  Cookie: 18,
  Date: 19,
  ETag: 20,
  Expect: 21,
  Expires: 22,
  Forwarded: 23,
  Host: 24,
  Http2Settings: 25,
  IfMatch: 26,
  IfModifiedSince: 27,
  IfNoneMatch: 28,
  IfRange: 29,
  IfUnmodifiedSince: 30,
  KeepAlive: 31,
  LastModified: 32,
  Link: 33,
  Location: 34,
  MaxForwards: 35,
  Origin: 36,
  Pragma: 37,
  Proxy: 38,
  ProxyAuthenticate: 39,
  ProxyAuthorization: 40,
  ProxyConnection: 41,
  Range: 42,
  Referer: 43,
  RetryAfter: 44,
  SecWebSocketAccept: 45,
  SecWebSocketKey: 46,
  SecWebSocketVersion: 47,
  Server: 48,
  SetCookie: 49,
  TE: 50,
  Traceparent: 51,
  Tracestate: 52,
  Trailer: 53,
  TransferEncoding: 54,
  Upgrade: 55,
  UserAgent: 56,
  Vary: 57,
  Via: 58,
  WwwAuthenticate: 59,
  XForwardedFor: 60,
  XForwardedProto: 61,
  XRealIp: 62,
  XRequestId: 63,
} as const;
export type KnownField = (typeof KnownField)[keyof typeof KnownField];

/** Lower-case names by number. */
export const KNOWN_FIELD_NAMES: readonly string[] = NAMES;

const SLOTS = 256;
const nameLengthMax = Math.max(...NAMES.map((name) => name.length));

/** Every name in one array, so that a comparison touches nothing else. */
const NAME_BYTES = new Uint8Array(NAMES.length * 32);
const NAME_LENGTHS = new Uint8Array(NAMES.length);
for (let id = 1; id < NAMES.length; id++) {
  NAME_LENGTHS[id] = NAMES[id]!.length;
  for (let i = 0; i < NAMES[id]!.length; i++) NAME_BYTES[id * 32 + i] = NAMES[id]!.charCodeAt(i);
}

/** First, middle and last byte and length tell the known names apart; see {@link buildSlots}. */
function slotOf(length: number, first: number, middle: number, last: number): number {
  return (length + (first | 0x20) * 5 + (middle | 0x20) * 115 + (last | 0x20) * 87) & (SLOTS - 1);
}

function buildSlots(): Uint8Array {
  const slots = new Uint8Array(SLOTS);
  for (let id = 1; id < NAMES.length; id++) {
    const name = NAMES[id]!;
    const at = slotOf(
      name.length,
      name.charCodeAt(0),
      name.charCodeAt(name.length >> 1),
      name.charCodeAt(name.length - 1),
    );
    if (slots[at] !== 0) throw new Error(`${name} and ${NAMES[slots[at]!]} share a slot`);
    slots[at] = id;
  }
  return slots;
}

const ID_BY_SLOT = buildSlots();

/**
 * Number of the field name `bytes[start, end)`, 0 when it is not known. The bytes must already have
 * passed as a token: only then does `| 0x20` fold letters and nothing else.
 */
export function knownFieldOf(bytes: Uint8Array, start: number, end: number): KnownField {
  const length = end - start;
  const id =
    ID_BY_SLOT[slotOf(length, bytes[start]!, bytes[start + (length >> 1)]!, bytes[end - 1]!)]!;
  if (id === 0 || NAME_LENGTHS[id] !== length) return 0;
  let at = id * 32;
  for (let i = start; i < end; i++) {
    if ((bytes[i]! | 0x20) !== NAME_BYTES[at++]) return 0;
  }
  return id as KnownField;
}

/** The same for a string; any case. Names with characters outside tokens are unknown. */
export function knownFieldOfName(name: string): KnownField {
  const length = name.length;
  if (length === 0 || length > nameLengthMax) return 0;
  const id =
    ID_BY_SLOT[
      slotOf(length, name.charCodeAt(0), name.charCodeAt(length >> 1), name.charCodeAt(length - 1))
    ]!;
  if (id === 0 || NAME_LENGTHS[id] !== length) return 0;
  const known = NAMES[id]!;
  if (name === known) return id as KnownField;
  for (let i = 0; i < length; i++) {
    let code = name.charCodeAt(i);
    if (code >= 0x41 && code <= 0x5a) code |= 0x20;
    if (code !== known.charCodeAt(i)) return 0;
  }
  return id as KnownField;
}
