import { CliError } from '../cli-error.ts';
import type { LoadPlan } from './types.ts';

/** More ports than one address has cannot be open to one upstream. */
const connectionsMax = 60_000;

/** Samples kept one by one before the recorder turns to a histogram. */
export const exactSamplesMax = 5_000_000;

/** A plan with oha's defaults for what `overrides` leaves out: 200 requests, 50 connections. */
export function defaultPlan(url: string, overrides: Partial<LoadPlan> = {}): LoadPlan {
  const bounded = overrides.requests != null || overrides.durationMs != null;
  return {
    url,
    moreUrls: [],
    method: 'GET',
    headers: [],
    body: null,
    bodies: [],
    connections: 50,
    http2: false,
    streamsPerConnection: 1,
    requests: bounded ? null : 200,
    durationMs: null,
    waitOngoing: false,
    graceMs: 10_000,
    ratePerS: null,
    arrivals: 'constant',
    burst: null,
    inFlightMax: 10_000,
    warmupRequests: 0,
    warmupMs: 0,
    connectFirst: false,
    timeoutMs: null,
    connectTimeoutMs: 5_000,
    keepAlive: true,
    redirectsMax: 0,
    sse: false,
    tls: { insecure: false, ca: null, cert: null, key: null },
    connectTo: [],
    unixSocket: null,
    ipFamily: 0,
    expectBody: null,
    expectBodyPattern: null,
    seed: 1,
    keepSamples: false,
    successBreakdown: false,
    ...overrides,
  };
}

/** The plan as JSON text: bytes travel as base64. */
export function encodePlan(plan: LoadPlan): string {
  // The holder's own value, for a Buffer turns itself into an object before a replacer sees it.
  return JSON.stringify(plan, function (this: Record<string, unknown>, key, value: unknown) {
    const own = this[key];
    if (!(own instanceof Uint8Array)) return value;
    return { $base64: Buffer.from(own.buffer, own.byteOffset, own.length).toString('base64') };
  });
}

/** What {@link encodePlan} wrote. */
export function decodePlan(text: string): LoadPlan {
  return JSON.parse(text, (_key, value: unknown) => {
    const wrapped = value as { $base64?: unknown } | null;
    if (wrapped !== null && typeof wrapped === 'object' && typeof wrapped.$base64 === 'string') {
      return Uint8Array.from(Buffer.from(wrapped.$base64, 'base64'));
    }
    return value;
  }) as LoadPlan;
}

/** More streams than one connection can ever number at once would only wait in line. */
const streamsMax = 10_000;

/** What oha does not do with HTTP/2 either. */
function checkHttp2(plan: LoadPlan): void {
  if (!plan.keepAlive) throw new CliError('HTTP/2 cannot do without keep-alive');
  if (plan.redirectsMax > 0) throw new CliError('redirects are not followed over HTTP/2');
  if (plan.streamsPerConnection > streamsMax) {
    throw new CliError(
      `at most ${streamsMax} streams per connection, not ${plan.streamsPerConnection}`,
    );
  }
}

/**
 * Refuses what cannot run.
 * @throws CliError naming the first thing that is wrong.
 */
export function checkPlan(plan: LoadPlan): void {
  const whole = (name: string, value: number, least: number): void => {
    if (!Number.isInteger(value) || value < least) {
      throw new CliError(`${name} must be a whole number of at least ${least}, not ${value}`);
    }
  };
  const positive = (name: string, value: number | null): void => {
    if (value !== null && !(value > 0 && Number.isFinite(value))) {
      throw new CliError(`${name} must be greater than 0, not ${value}`);
    }
  };
  whole('the number of connections', plan.connections, 1);
  if (plan.connections > connectionsMax) {
    throw new CliError(
      `at most ${connectionsMax} connections are possible, not ${plan.connections}`,
    );
  }
  whole('the number of streams per connection', plan.streamsPerConnection, 1);
  if (plan.http2) checkHttp2(plan);
  else if (plan.streamsPerConnection !== 1) {
    throw new CliError('HTTP/1.1 has one request at a time on a connection');
  }
  whole('the in-flight limit', plan.inFlightMax, 1);
  whole('the number of warm-up requests', plan.warmupRequests, 0);
  if (plan.requests !== null) whole('the number of requests', plan.requests, 1);
  positive('the duration', plan.durationMs);
  positive('the rate', plan.ratePerS);
  positive('the timeout', plan.timeoutMs);
  positive('the connect timeout', plan.connectTimeoutMs);
  if (plan.burst !== null) {
    positive('the burst delay', plan.burst.delayMs);
    whole('the burst rate', plan.burst.requests, 1);
    if (plan.ratePerS !== null) throw new CliError('a rate and bursts cannot be combined');
  }
  if (plan.requests === null && plan.durationMs === null) {
    throw new CliError('a run needs a number of requests or a duration');
  }
  if (plan.durationMs !== null && plan.durationMs > 2 ** 31 - 1) {
    throw new CliError('the duration must be less than 24 days');
  }
  if (plan.expectBodyPattern !== null) {
    try {
      new RegExp(plan.expectBodyPattern);
    } catch (error) {
      throw new CliError(`the expected body is no valid pattern: ${(error as Error).message}`);
    }
  }
}
