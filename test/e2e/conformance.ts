/** Types and verdicts of the published conformance cases, for runs through a live gateway. */
import type { SeenRequest } from './strict-upstream.ts';

export interface Wanted {
  method: string;
  target: string;
  version?: string;
  host?: string;
  body_base64?: string;
  framing?: string[];
  headers?: Record<string, string>;
  headers_b64?: Record<string, string>;
  absent?: string[];
  count?: Record<string, number>;
  no_interim?: boolean;
  te_rule?: boolean;
  upgrade_not?: string;
  many?: number;
}

export interface RequestOutcome {
  reject?: number[];
  local?: number[];
  forward?: { upstream?: Wanted[]; client?: string[] };
}

export interface RequestCase {
  id: string;
  title: string;
  bytes_base64: string;
  segments?: [string, number][];
  no_early_response?: boolean;
  client_fin?: boolean;
  wait_ok?: boolean;
  expect: RequestOutcome;
  also_ok?: RequestOutcome;
  must_close: boolean | null;
  timed?: string;
  drip?: { every_ms: number; bytes_base64: string };
}

export interface RequestRun {
  seen: SeenRequest[];
  malformed: string[];
  /** Final ones, in order. */
  statuses: number[];
  interim: number[];
  ended: boolean;
  early: boolean;
}

const base64 = (text: string | undefined): Buffer => Buffer.from(text ?? '', 'base64');

const valuesOf = (fields: readonly [string, string][], name: string): string[] =>
  fields.filter(([key]) => key === name).map(([, value]) => value);

function fits(wanted: string, joined: string): boolean {
  return wanted.startsWith('re:') ? new RegExp(wanted.slice(3)).test(joined) : joined === wanted;
}

/** What is wrong with a forwarded request; empty when nothing is. */
function requestDiffers(want: Wanted, got: SeenRequest): string {
  if (got.method !== want.method) return `method ${got.method}`;
  if (got.target !== want.target) return `target ${got.target.slice(0, 60)}`;
  if (want.version !== undefined && got.version !== want.version) return `version ${got.version}`;
  const hosts = valuesOf(got.fields, 'host').map((host) => host.toLowerCase());
  if (want.host && (hosts.length !== 1 || hosts[0] !== want.host.toLowerCase())) {
    return `host ${hosts}`;
  }
  if (!base64(want.body_base64).equals(got.body)) return `body ${got.body.subarray(0, 60)}`;
  if (want.framing !== undefined && !want.framing.includes(got.framing)) return got.framing;
  for (const [name, value] of Object.entries(want.headers ?? {})) {
    const joined = valuesOf(got.fields, name).join(', ');
    if (!fits(value, joined)) return `${name} is ${JSON.stringify(joined)}, wanted ${value}`;
  }
  for (const [name, value] of Object.entries(want.headers_b64 ?? {})) {
    const all = valuesOf(got.fields, name);
    if (all.length !== 1 || all[0] !== base64(value).toString('latin1')) return `${name} differs`;
  }
  for (const name of want.absent ?? []) {
    if (valuesOf(got.fields, name).length > 0) return `${name} was forwarded`;
  }
  for (const [name, count] of Object.entries(want.count ?? {})) {
    const { length } = valuesOf(got.fields, name);
    if (length !== count && !(name === 'content-length' && length === 0)) {
      return `${length} times ${name}`;
    }
  }
  if (want.te_rule && valuesOf(got.fields, 'te').length > 0) {
    const options = valuesOf(got.fields, 'connection').join(',').toLowerCase();
    if (!options.includes('te')) return 'TE without Connection: TE';
  }
  if (want.upgrade_not && valuesOf(got.fields, 'upgrade').join(',').includes(want.upgrade_not)) {
    return 'Upgrade was forwarded';
  }
  return '';
}

function statusesDiffer(wanted: readonly string[], got: readonly number[]): string {
  if (wanted.length !== got.length) return `statuses ${got}, wanted ${wanted}`;
  for (const [i, want] of wanted.entries()) {
    if (want === 'any') continue;
    const status = `${got[i]}`;
    if (want.endsWith('xx') ? status[0] !== want[0] : status !== want) {
      return `status ${status}, wanted ${want}`;
    }
  }
  return '';
}

function requestOutcomeDiffers(
  outcome: RequestOutcome,
  entry: RequestCase,
  run: RequestRun,
): string {
  const refused = outcome.reject ?? outcome.local;
  const [status] = run.statuses;
  if (refused !== undefined) {
    const [seen] = run.seen;
    if (seen !== undefined) return `the upstream saw ${seen.method} ${seen.target.slice(0, 40)}`;
    if (status === undefined) {
      return (refused.includes(0) && run.ended) || entry.wait_ok ? '' : 'no answer';
    }
    return refused.includes(status) ? '' : `status ${status}, wanted ${refused}`;
  }
  const { upstream, client } = outcome.forward!;
  if (upstream === undefined) {
    return run.seen.length === 1 && status === 200 ? '' : `${run.seen.length} seen, ${status}`;
  }
  const { many } = upstream[0]!;
  if (many !== undefined) return run.seen.length === many ? '' : `${run.seen.length} requests`;
  if (run.seen.length !== upstream.length) {
    return `${run.seen.length} requests, wanted ${upstream.length} (statuses ${run.statuses})`;
  }
  for (const [i, want] of upstream.entries()) {
    const reason = requestDiffers(want, run.seen[i]!);
    if (reason !== '') return reason;
  }
  if (upstream[0]!.no_interim && run.interim.length > 0) return 'an interim response was sent';
  return client === undefined ? '' : statusesDiffer(client, run.statuses);
}

export type Verdict = 'pass' | 'alt' | string;

/** `pass`, `alt` (the other outcome that the RFC allows) or what is wrong. */
export function judgeRequest(entry: RequestCase, run: RequestRun): Verdict {
  const expected = new Set(
    [entry.expect, entry.also_ok].flatMap((outcome) =>
      (outcome?.forward?.upstream ?? []).map(({ target }) => target),
    ),
  );
  const evil = run.seen.find(({ target }) => target.includes('/evil') && !expected.has(target));
  if (evil !== undefined) return `UNSAFE: the upstream saw ${evil.target}`;
  if (run.malformed.length > 0) return `UNSAFE: malformed upstream: ${run.malformed[0]}`;
  if (run.early) return 'answered before the request was complete';
  const reason = requestOutcomeDiffers(entry.expect, entry, run);
  if (reason === '') {
    return entry.must_close === true && !run.ended ? 'the connection stays open' : 'pass';
  }
  if (entry.also_ok === undefined) return reason;
  return requestOutcomeDiffers(entry.also_ok, entry, run) === '' ? 'alt' : reason;
}

// ---- Responses ----------------------------------------------------------------------------------

export interface ResponseOutcome {
  reject?: number[];
  forward?: {
    status?: number;
    complete?: boolean;
    body_base64?: string;
    headers?: Record<string, string>;
    absent?: string[];
    count?: Record<string, number>;
    set_cookie?: string[];
    not_both?: boolean;
    interim?: number[];
    no_interim?: boolean;
    version?: string;
    tunnel_base64?: string;
    first_bytes_within_ms?: number;
  };
}

export interface ResponseCase {
  id: string;
  title: string;
  bytes_base64: string;
  client_request_base64?: string;
  upstream_fin?: boolean;
  rst?: boolean;
  on_connect?: boolean;
  idle_bytes_base64?: string;
  stale_pool?: boolean;
  always_fin?: boolean;
  refuse?: boolean;
  early?: boolean;
  timed?: string;
  drip?: { every_ms: number; bytes_base64: string };
  expect: ResponseOutcome;
  also_ok?: ResponseOutcome;
  must_close: boolean | null;
}

export interface SeenResponse {
  status: number;
  version: string;
  fields: [string, string][];
  body: Buffer;
  /** Null: only the end of the connection delimits it. */
  complete: boolean | null;
  interim: number[];
}

/** The first final response of what a caller received; null when there is none. */
export function parseFirstResponse(raw: Buffer, isHead: boolean): SeenResponse | null {
  const interim: number[] = [];
  let at = 0;
  for (;;) {
    const end = raw.indexOf('\r\n\r\n', at);
    const match = /^HTTP\/(1\.[01]) (\d{3})/.exec(raw.toString('latin1', at, at + 12));
    if (end < 0 || match === null) return null;
    const status = Number(match[2]);
    const lines = raw.toString('latin1', at, end).split('\r\n').slice(1);
    at = end + 4;
    if (status >= 100 && status < 200 && status !== 101) {
      interim.push(status);
      continue;
    }
    const fields = lines.map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    });
    const rest = raw.subarray(at);
    const seen = { status, version: match[1]!, fields, interim };
    if (isHead || status === 204 || status === 304) {
      return { ...seen, body: Buffer.alloc(0), complete: true };
    }
    return { ...seen, ...readBody(rest, fields) };
  }
}

function readBody(
  rest: Buffer,
  fields: readonly [string, string][],
): { body: Buffer; complete: boolean | null } {
  if (valuesOf(fields, 'transfer-encoding').length > 0) return readChunks(rest);
  const [length] = valuesOf(fields, 'content-length');
  if (length === undefined) return { body: rest, complete: null };
  return { body: rest.subarray(0, Number(length)), complete: rest.length >= Number(length) };
}

function readChunks(rest: Buffer): { body: Buffer; complete: boolean } {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = rest.indexOf('\r\n', at);
    const size = end < 0 ? Number.NaN : Number.parseInt(rest.toString('latin1', at, end), 16);
    if (Number.isNaN(size)) return { body: Buffer.concat(parts), complete: false };
    at = end + 2;
    if (size === 0) {
      const last = rest.indexOf('\r\n\r\n', at - 2);
      return { body: Buffer.concat(parts), complete: last >= 0 };
    }
    parts.push(rest.subarray(at, at + size));
    if (rest.length < at + size + 2) return { body: Buffer.concat(parts), complete: false };
    at += size + 2;
  }
}

function responseOutcomeDiffers(
  outcome: ResponseOutcome,
  got: SeenResponse | null,
  raw: Buffer,
): string {
  if (got === null) return raw.length === 0 ? 'no response' : 'unparsable response';
  if (outcome.reject !== undefined) {
    return outcome.reject.includes(got.status) ? '' : `status ${got.status}`;
  }
  const want = outcome.forward!;
  if (want.status === undefined) {
    const split = /\r\nSet-Cookie: s=1/.test(raw.toString('latin1'));
    return got.status === 200 && !split ? '' : `status ${got.status} or split`;
  }
  if (got.status !== want.status) return `status ${got.status}, wanted ${want.status}`;
  if (got.status === 101 && want.tunnel_base64 !== undefined) {
    return raw.includes(base64(want.tunnel_base64)) ? '' : 'tunnel bytes are missing';
  }
  if (want.complete === false && got.complete) return 'the truncation is hidden';
  if (want.complete && got.complete === false) return 'incomplete';
  if (want.body_base64 !== undefined && want.complete) {
    if (!got.body.equals(base64(want.body_base64))) return `body ${got.body.subarray(0, 40)}`;
  }
  return responseFieldsDiffer(want, got);
}

function responseFieldsDiffer(
  want: NonNullable<ResponseOutcome['forward']>,
  got: SeenResponse,
): string {
  for (const name of want.absent ?? []) {
    if (valuesOf(got.fields, name).length > 0) return `${name} was forwarded`;
  }
  for (const [name, value] of Object.entries(want.headers ?? {})) {
    const joined = valuesOf(got.fields, name).join(', ');
    if (!fits(value, joined)) return `${name} is ${JSON.stringify(joined)}`;
  }
  for (const [name, count] of Object.entries(want.count ?? {})) {
    const { length } = valuesOf(got.fields, name);
    if (length > count) return `${length} times ${name}`;
  }
  if (want.set_cookie !== undefined) {
    const cookies = valuesOf(got.fields, 'set-cookie');
    if (cookies.join('\n') !== want.set_cookie.join('\n')) return `set-cookie ${cookies}`;
  }
  const has = (name: string): boolean => valuesOf(got.fields, name).length > 0;
  if (want.not_both && has('content-length') && has('transfer-encoding')) return 'both framings';
  for (const status of want.interim ?? []) {
    if (!got.interim.includes(status)) return `${status} was not forwarded`;
  }
  if (want.no_interim && got.interim.length > 0) return 'an interim response was sent';
  if (want.version !== undefined && got.version !== want.version) return got.version;
  return '';
}

export interface ResponseRun {
  raw: Buffer;
  isHead: boolean;
  /** What a second request, on a connection of its own, was answered. */
  followUp: Buffer;
  /** The second request reached the upstream over the connection of the first. */
  reused: boolean;
}

export function judgeResponse(entry: ResponseCase, run: ResponseRun): Verdict {
  const evil = Buffer.concat([run.raw, run.followUp]).includes('EVIL');
  if (evil && !entry.on_connect) return 'UNSAFE: bytes of another response reached a caller';
  const after = parseFirstResponse(run.followUp, false);
  if (after === null) return 'the request after it got no answer';
  if (after.status === 200 && after.body.toString() !== 'follow') {
    return `UNSAFE: the request after it got ${after.body.subarray(0, 40)}`;
  }
  const got = parseFirstResponse(run.raw, run.isHead);
  const reason = responseOutcomeDiffers(entry.expect, got, run.raw);
  if (reason === '') {
    return entry.must_close === true && run.reused ? 'the connection was used again' : 'pass';
  }
  if (entry.also_ok === undefined) return reason;
  return responseOutcomeDiffers(entry.also_ok, got, run.raw) === '' ? 'alt' : reason;
}
