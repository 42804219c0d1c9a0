/**
 * Every default bound of the engine in one place. Each is configurable where it is enforced; none is
 * "unlimited", because a peer that is slow, greedy or hostile must never cost unbounded memory or
 * time (connections of one address are bounded by those of all). On breach: see the docstrings (statuses are what a gateway answers).
 */

// Request and response heads.

/** Method, target and version with their spaces. Breach: 414. */
export const requestLineBytesMax = 16 * 1024;
/** Whole head, start line included, of a request. Breach: 431. */
export const headBytesMax = 32 * 1024;
/** Header fields in one head. Breach: 431. */
export const headersCountMax = 100;
/** One header field line, name and value. Breach: 431. */
export const headerBytesMax = 16 * 1024;
/** Whole head of an upstream's response. Breach: 502. */
export const responseHeadBytesMax = 32 * 1024;
/** Header fields of an upstream's response. Breach: 502. */
export const responseHeadersCountMax = 100;
/** 1xx responses before the final one. Breach: 502. */
export const interimResponsesMax = 16;

// Bodies.

/** Trailer section of a chunked body. Breach: 400. */
export const trailerBytesMax = 8 * 1024;
/** Trailer fields of a chunked body. Breach: 400. */
export const trailersCountMax = 32;
/** Extensions on one chunk-size line. Breach: 400. */
export const chunkExtensionBytesMax = 256;
/** Extensions of a whole body (the bound that CVE-2024-22019 lacked). Breach: 400. */
export const chunkExtensionsBytesMax = 16 * 1024;
/** Hexadecimal digits of a chunk size, leading zeros included; the value stays below 2^53. */
export const chunkSizeDigitsMax = 16;
/** Request body. Breach: 413. */
export const bodyBytesMax = 64 * 1024 * 1024;
/** What is kept of one request body while its model is looked for. Breach: 413. */
export const scanBytesMax = 32 * 1024 * 1024;
/** What all requests of a process together keep while their models are looked for. Breach: 503. */
export const scansBytesMax = 256 * 1024 * 1024;
/**
 * What one direction of an exchange may hold in memory before the other side is paused; pipelined
 * requests wait in it, too, and are parsed one at a time.
 */
export const relayBufferBytesMax = 64 * 1024;
/**
 * What may be read ahead of a caller that has been held up for a second: its FIN comes behind its bytes,
 * and is heard only once they are read.
 */
export const stalledReadAheadBytesMax = 1024 * 1024;
/** Callers at a time that are read so far ahead; of others only a reset is heard. */
export const stalledReadersMax = 64;
/**
 * Read and dropped after an early error response, beside what is left of the body that it was sending, so
 * that the caller can read it; then RST.
 */
export const lingerBytesMax = 64 * 1024;

// Downstream deadlines.

/** Accept to first byte. Breach: close. */
export const firstRequestTimeoutMs = 10_000;
/** First byte of a head to its end. Breach: 408 and close. */
export const requestHeadTimeoutMs = 10_000;
/** Between two reads of a request body. Breach: 408 and close. */
export const requestBodyGapTimeoutMs = 15_000;
/** Slowest allowed request body, bytes per second, once {@link requestBodyGraceMs} is over. */
export const requestBodyBytesPerSecondMin = 500;
/** How long a request body may be slower than {@link requestBodyBytesPerSecondMin}. */
export const requestBodyGraceMs = 20_000;
/** Between the end of one exchange and the first byte of the next. Breach: close. */
export const keepAliveTimeoutMs = 60_000;
/** Exchanges on one downstream connection; then `connection: close`. */
export const requestsPerConnectionMax = 10_000;
/** No progress of a write to the caller. Breach: RST. */
export const writeStallTimeoutMs = 30_000;
/** After an early error response, see {@link lingerBytesMax}; up to 30 times as long while bytes still come. */
export const lingerTimeoutMs = 1000;

// Upstream deadlines (client).

/** TCP and TLS. Breach: CONNECT_TIMEOUT, 504. */
export const connectTimeoutMs = 5000;
/** Request sent to response head; inference may think long. Breach: HEAD_TIMEOUT, 504. */
export const headTimeoutMs = 600_000;
/**
 * Head with `Expect: 100-continue` sent to 100 or a final response; then the body is sent all the same,
 * for many servers ignore the field. The time that common clients wait themselves.
 */
export const expectTimeoutMs = 1000;
/** Response head to first body byte. Breach: FIRST_BYTE_TIMEOUT, 504. */
export const firstByteTimeoutMs = 600_000;
/** Between two body chunks of a response. Breach: IDLE_TIMEOUT. */
export const idleTimeoutMs = 300_000;
/** Whole exchange. Breach: TOTAL_TIMEOUT. */
export const totalTimeoutMs = 900_000;
/**
 * Idle upstream connections retire after this; below the 5 s of uvicorn and node:http, because a
 * request sent into a connection that the server is closing is lost.
 */
export const poolIdleTimeoutMs = 4000;

// Counts.

/**
 * Downstream connections of one address, trusted proxies exempt. By default only the bound of all
 * connections counts: behind a load balancer all callers have one address. Breach: 503 (or 429) with
 * Retry-After.
 */
export const connectionsPerAddressMax = Number.POSITIVE_INFINITY;
/** Connections to one origin. Further requests queue. */
export const connectionsPerOriginMax = 1024;
/** Requests waiting for a connection to one origin. Breach: QUEUE_FULL, 503 (or 429). */
export const queueLengthMax = 1024;
/** Wait for a connection. Breach: QUEUE_TIMEOUT, 503 (or 429). */
export const queueTimeoutMs = 5000;
/** Attempts beyond the first. */
export const retriesMax = 1;
/** Share of the active requests that may be retries at a time. */
export const retryBudgetRatio = 0.2;
/** Retries always allowed, however few requests are active. */
export const retryBudgetMin = 3;
/** Pause before the second attempt at most; doubles with each, with full jitter. */
export const retryBackoffMs = 25;
