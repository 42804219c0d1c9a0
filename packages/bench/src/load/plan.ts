import type { LoadPlan } from './types.ts';

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
  return JSON.stringify(plan, (_key, value: unknown) =>
    value instanceof Uint8Array
      ? { $base64: Buffer.from(value.buffer, value.byteOffset, value.length).toString('base64') }
      : value,
  );
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
