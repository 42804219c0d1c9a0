/** Requests on their way to the socket: one head, one write wherever the body allows it. */
import { OnehopError } from '../core/index.ts';
import {
  CHUNK_END,
  Connection as ConnectionField,
  chunkHead,
  FieldBlock,
  Framing,
  HeadWriter,
  LAST_CHUNK,
  type PreparedHead,
  parseErrorReason,
} from '../http1/index.ts';
import { type Socket, WriteStatus } from '../transport/index.ts';
import { type Exchange, Upload } from './exchange.ts';
import type { Origin } from './origin.ts';
import type { DispatchRequest } from './types.ts';

/** Bodies up to this size leave as text, one string with their head. */
const joinedBodyBytesMax = 4 * 1024;
const latin1Slice = Buffer.prototype.latin1Slice;

/** Bodies up to this size are copied behind their head; bigger ones leave as a buffer of their own. */
export const copiedBodyBytesMax = 16 * 1024;

/** No fields. */
export const noFields: FieldBlock = new FieldBlock([]);

const writer = new HeadWriter();

/**
 * Methods whose requests say `content-length: 0` when there is no body, because servers expect one
 * (RFC 9110 section 8.6).
 */
const expectsBody = (method: string): boolean =>
  method === 'POST' || method === 'PUT' || method === 'PATCH';

/**
 * The head of a request: a latin1 string, or the one that was kept for requests like it. An OnehopError
 * (REQUEST_INVALID) when method, target or fields cannot be sent. With a small ASCII body in memory
 * the body is part of the string.
 */
export function requestHead(
  origin: Origin,
  request: DispatchRequest,
): string | PreparedHead | OnehopError {
  const { kept } = request;
  // Text in memory may be joined with its head.
  if (kept === undefined || kept === null || typeof request.body === 'string')
    return writeHead(origin, request);
  const found = kept.find(origin, request);
  if (found !== null) return found;
  const text = writeHead(origin, request);
  if (typeof text === 'string') kept.keep(origin, request, text);
  return text;
}

function writeHead(origin: Origin, request: DispatchRequest): string | OnehopError {
  const { body, method } = request;
  const prefix = request.method === 'CONNECT' ? '' : origin.targetPrefix;
  writer.beginRequest(
    method,
    prefix === '' ? request.target : prefix + request.target,
    request.host ?? origin.authority,
  );
  writer.block(request.fields);
  if (prefix !== '' && origin.proxy!.authorization !== null) {
    writer.field('proxy-authorization', origin.proxy!.authorization);
  }
  if (request.expectContinue === true) writer.field('expect', '100-continue');
  let connection: ConnectionField = ConnectionField.KeepAlive;
  if (request.upgrade !== undefined) {
    writer.upgrade(request.upgrade);
    connection = ConnectionField.Upgrade;
  } else if (request.close === true) connection = ConnectionField.Close;
  let head: string;
  if (body === null) {
    head = expectsBody(method)
      ? writer.end(Framing.Length, 0, connection)
      : writer.end(Framing.None, 0, connection);
  } else if (typeof body === 'string') {
    const length = Buffer.byteLength(body);
    head = writer.end(Framing.Length, length, connection);
    // As many bytes as characters: all ASCII, so head and body are one string.
    if (length === body.length && length <= copiedBodyBytesMax && head !== '') return head + body;
  } else if (body instanceof Uint8Array) {
    head = writer.end(Framing.Length, body.length, connection);
  } else if (body.length === null) head = writer.end(Framing.Chunked, 0, connection);
  else head = writer.end(Framing.Length, body.length, connection);
  return head === '' ? invalidRequest(origin) : head;
}

/** The CONNECT request that asks the proxy of an https origin for a tunnel. Errors: REQUEST_INVALID. */
export function connectHead(origin: Origin): string | OnehopError {
  const { host, port } = origin.address;
  // Always with its port (RFC 9112 section 3.2.3).
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  writer.beginRequest('CONNECT', authority, authority);
  const authorization = origin.proxy?.authorization ?? null;
  if (authorization !== null) writer.field('proxy-authorization', authorization);
  const head = writer.end(Framing.None, 0, ConnectionField.KeepAlive);
  return head === '' ? invalidRequest(origin) : head;
}

function invalidRequest(origin: Origin): OnehopError {
  return new OnehopError('REQUEST_INVALID', parseErrorReason(writer.errorCode), {
    phase: 'request',
    upstream: origin.name,
  });
}

/**
 * Writes the head of `exchange`, and the body when it is in memory. For a streamed body the socket is
 * left corked, so that the first piece can leave with the head: the caller uncorks it. `corked`: it
 * is already, and stays so. `Closed`: nothing of it left.
 */
export function sendRequest(
  socket: Socket<unknown>,
  exchange: Exchange,
  corked: boolean,
): WriteStatus {
  const head = exchange.head;
  const body = exchange.request.body;
  if (typeof head !== 'string') return sendPrepared(socket, exchange, head, corked);
  if (exchange.upload === Upload.Ready) {
    socket.cork();
    exchange.upload = Upload.Streaming;
    return socket.writeLatin1(head);
  }
  if (body === null) return socket.writeLatin1(head);
  if (typeof body === 'string') {
    const length = Buffer.byteLength(body);
    if (length === body.length && length <= copiedBodyBytesMax) return socket.writeLatin1(head);
    const bytes = Buffer.allocUnsafe(head.length + length);
    bytes.write(head, 0, 'latin1');
    bytes.write(body, head.length, 'utf8');
    return socket.write(bytes, 0, bytes.length);
  }
  const bytes = body as Uint8Array;
  if (bytes.length <= joinedBodyBytesMax) {
    return socket.writeLatin1(head + latin1Slice.call(bytes, 0, bytes.length));
  }
  if (bytes.length <= copiedBodyBytesMax) {
    const joined = Buffer.allocUnsafe(head.length + bytes.length);
    joined.write(head, 0, 'latin1');
    joined.set(bytes, head.length);
    return socket.write(joined, 0, joined.length);
  }
  return sendBehind(socket, bytes, socket.writeLatin1(head));
}

/**
 * Writes a body behind its head, which leaves by itself. `Closed` only where nothing left: once the
 * head is out the server may act on it, and the connection hears what becomes of the exchange.
 */
function sendBehind(socket: Socket<unknown>, body: Uint8Array, head: WriteStatus): WriteStatus {
  if (head === WriteStatus.Closed) return head;
  const status = socket.write(body, 0, body.length);
  return status === WriteStatus.Closed ? head : status;
}

/** The socket copies the head while it is corked, so that the next request may fill it anew. */
function sendPrepared(
  socket: Socket<unknown>,
  exchange: Exchange,
  head: PreparedHead,
  corked: boolean,
): WriteStatus {
  const { bytes } = head;
  const { body, slot } = exchange.request;
  head.fill(slot!);
  socket.cork();
  const status = socket.write(bytes, 0, bytes.length);
  if (exchange.upload === Upload.Ready) {
    exchange.upload = Upload.Streaming;
    return status;
  }
  if (status === WriteStatus.Closed) return status;
  if (body !== null) {
    const inMemory = body as Uint8Array;
    if (!corked && inMemory.length > copiedBodyBytesMax) {
      return sendBehind(socket, inMemory, socket.uncork());
    }
    socket.write(inMemory, 0, inMemory.length);
  }
  return corked ? status : socket.uncork();
}

/** Sends one chunk of a chunked body. */
export function writeChunk(
  socket: Socket<unknown>,
  bytes: Uint8Array,
  start: number,
  end: number,
  corked: boolean,
): WriteStatus {
  if (!corked) socket.cork();
  socket.writeLatin1(chunkHead(end - start));
  socket.write(bytes, start, end);
  const status = socket.writeLatin1(CHUNK_END);
  return corked ? status : socket.uncork();
}

/** Ends a chunked body; `trailers` is what a `TrailerWriter` returned, or empty. */
export function writeLastChunk(socket: Socket<unknown>, trailers: string): WriteStatus {
  return socket.writeLatin1(trailers === '' ? LAST_CHUNK : trailers);
}
