import { OnehopError } from '../core/index.ts';
import {
  Connection as ConnectionOption,
  type FieldBlock,
  Framing,
  type HeaderTable,
  type HeadWriter,
  isFieldValue,
  parseErrorReason,
  type RequestHead,
  statusLine,
} from '../http1/index.ts';
import { WriteStatus } from '../transport/index.ts';
import type { Connection } from './connection.ts';
import { noFields } from './field-block.ts';
import type { KeptReply } from './kept-reply.ts';
import type { TunnelHandler } from './types.ts';

/** Length argument for a body whose size is not known yet. */
export const unknownLength = -1;

/** Chunk bodies up to this size are joined with their framing before they are written. */
const joinBytesMax = 4096;
const latin1Slice = Buffer.prototype.latin1Slice;

/** HEAD, exactly so: methods are case-sensitive (RFC 9110 section 9.1). */
function isHeadMethod(head: RequestHead): boolean {
  const at = head.methodStart;
  const { bytes } = head;
  return (
    bytes[at] === 0x48 &&
    head.methodEnd - at === 4 &&
    bytes[at + 1] === 0x45 &&
    bytes[at + 2] === 0x41 &&
    bytes[at + 3] === 0x44
  );
}

/**
 * One request and its response on the downstream side. A small object made per request; it stays
 * valid after the end, when every call on it returns `Closed` and does nothing, so a late answer of
 * a slow handler can never reach the next request of the connection.
 *
 * Not for the handler: the methods of the server on it, which the connection calls.
 */
export class Exchange<State> {
  // What each write of the response looks at comes first, side by side.
  private readonly connection: Connection<State>;
  /** `onFinish` is due or was called. */
  finished = false;
  responseEnded = false;
  private chunkOpen = false;
  /** Bytes of the response body so far, without framing. */
  responseBytes = 0;
  private framing: Framing = Framing.None;
  private left = 0;

  /** The handler's own slot; dies with the exchange. */
  state: State | undefined = undefined;
  /** HEAD: the response says what GET would, without a body. */
  readonly isHead: boolean;
  readonly versionMinor: number;
  /** Bytes of the request body so far, without framing. */
  requestBytes = 0;
  /** Status of the response; 0 before it has begun. */
  status = 0;
  /** The request was read to its end. */
  requestEnded = false;
  /** The final response head was written. */
  responseStarted = false;
  /** The caller waits for 100 before it sends its body, and it was not sent. */
  continueNeeded: boolean;
  /** For the server: `onRequest` is running, so the borrowed head is valid. */
  headReadable = true;

  private head: RequestHead;

  constructor(connection: Connection<State>, head: RequestHead) {
    this.connection = connection;
    this.head = head;
    this.versionMinor = head.versionMinor;
    this.isHead = isHeadMethod(head);
    this.continueNeeded = head.expectContinue && head.framing !== Framing.None;
  }

  /**
   * The request head as a table of offsets. It borrows the read buffer and is valid during
   * `onRequest` only; call {@link keepHead} there to use it later.
   */
  get request(): RequestHead {
    if (!this.headReadable && this.head === this.connection.parser.head) {
      throw new OnehopError(
        'INTERNAL',
        'the request head was not kept: call keepHead in onRequest',
      );
    }
    return this.head;
  }

  /** Copies the head so that {@link request} stays valid to the end of the exchange. */
  keepHead(): RequestHead {
    if (this.head === this.connection.parser.head) this.head = this.request.snapshot();
    return this.head;
  }

  /** For the server: the body has no other end than that of the connection. */
  get endsByClose(): boolean {
    return this.framing === Framing.Close;
  }

  /** Trailer fields of the request; readable in `onEnd`. */
  get trailers(): HeaderTable {
    return this.connection.parser.trailers;
  }

  get remoteAddress(): string {
    return this.connection.socket!.remoteAddress;
  }

  /** How many exchanges the connection has had, this one included. */
  get connectionRequests(): number {
    return this.connection.requests;
  }

  /** Whether the response can still be written. */
  get writable(): boolean {
    return !this.finished && !this.responseEnded;
  }

  /** Bytes that the caller has not taken yet. */
  get queuedBytes(): number {
    return this.finished ? 0 : this.connection.socket!.queuedBytes;
  }

  /** Whether the last write was queued and `onDrain` is to come. */
  get writeBlocked(): boolean {
    return !this.finished && this.connection.writeBlocked;
  }

  /**
   * Sets the bound of this request's body, before its first byte (413 beyond it). A Content-Length
   * above the server's own bound was refused with the head, so raising helps chunked bodies only.
   */
  setBodyBytesMax(bytes: number): void {
    if (!this.finished) this.connection.parser.bodyBytesMax = bytes;
  }

  /** Stops `onBody` until {@link resume}; what has arrived is kept, bounded, then reading stops. */
  pause(): void {
    if (!this.finished) this.connection.pauseBody();
  }

  resume(): void {
    if (!this.finished) this.connection.resumeBody();
  }

  // ---- Response -------------------------------------------------------------------------------

  /**
   * Sends an interim response (RFC 9110 section 15.2): 100, 102, 103. Never to an HTTP/1.0 caller,
   * where it does nothing, nor after the final head. 101 is {@link upgrade}.
   */
  sendInterim(status: number, fields: FieldBlock = noFields): WriteStatus {
    if (!this.writable || this.responseStarted) return WriteStatus.Closed;
    if (!(status >= 100 && status <= 199) || status === 101 || !Number.isInteger(status)) {
      throw new OnehopError('ARGUMENT_INVALID', `${status} is no interim status`);
    }
    if (status === 100 && this.continueNeeded) {
      this.continueNeeded = false;
      this.connection.bodyAsked();
    }
    if (this.versionMinor === 0) return WriteStatus.Flushed;
    return this.connection.writeLatin1(`${statusLine(status)}${fields.text}\r\n`);
  }

  /** `100 Continue` if the caller waits for it; otherwise nothing. */
  sendContinue(): WriteStatus {
    return this.continueNeeded ? this.sendInterim(100) : WriteStatus.Flushed;
  }

  /**
   * The whole response at once, head and body in one write. A string body is latin1, one byte per
   * character: use the bytes of a `TextEncoder` for anything beyond. For HEAD, 204 and 304 the body
   * is left out.
   */
  respond(status: number, fields: FieldBlock, body: string | Uint8Array = ''): WriteStatus {
    if (!this.writable || this.responseStarted) return WriteStatus.Closed;
    const length = body.length;
    const head = this.makeHead(status, fields, length, true);
    const bare = this.framing === Framing.None;
    this.responseEnded = true;
    let result: WriteStatus;
    if (bare || length === 0) {
      result = this.connection.writeLatin1(head);
    } else if (typeof body === 'string') {
      this.responseBytes = length;
      result = this.connection.writeLatin1(head + body);
    } else {
      this.responseBytes = length;
      result =
        length <= joinBytesMax
          ? this.connection.writeLatin1(head + latin1Slice.call(body, 0, length))
          : this.writeBoth(head, body, 0, length, '');
    }
    this.connection.responseDone(this);
    return result;
  }

  /**
   * Begins a response whose body follows in {@link write} and {@link end}. `contentLength` in
   * bytes, or {@link unknownLength}: then the body is chunked, or ends with the connection for an
   * HTTP/1.0 caller. Nothing is sent for HEAD, 204 and 304 but the head.
   */
  start(status: number, fields: FieldBlock, contentLength: number): WriteStatus {
    if (!this.writable || this.responseStarted) return WriteStatus.Closed;
    return this.connection.writeLatin1(this.makeHead(status, fields, contentLength, false));
  }

  /**
   * {@link start} with a head under construction, for whoever copies fields of another head: the
   * writer is past `beginResponse(status)` and its fields, and is ended in here with the framing
   * that fits this caller. A field the writer refused makes this throw ARGUMENT_INVALID before
   * anything is sent. `hasDate`: the fields bring their own Date. `kept` takes the head for
   * {@link startAgain}, `slot` being the value in it that differs.
   */
  startHead(
    status: number,
    writer: HeadWriter,
    contentLength: number,
    hasDate = false,
    kept: KeptReply | null = null,
    slot = '',
  ): WriteStatus {
    if (!this.writable || this.responseStarted) return WriteStatus.Closed;
    const text = this.endHead(status, writer, contentLength, hasDate);
    if (kept !== null && !this.connection.closesAfter) {
      kept.status = status;
      kept.framing = this.framing;
      kept.contentLength = contentLength;
      kept.isHead = this.isHead;
      kept.versionMinor = this.versionMinor;
      kept.date = hasDate ? '' : this.connection.server.date.line;
      kept.keep(text, slot);
    }
    return this.connection.writeLatin1(text);
  }

  /**
   * {@link startHead} with the head that was kept, `slot` in its place. False when it does not fit
   * this exchange; then nothing has begun. The connection must be corked. Whether the socket is full
   * is told by {@link uncork}.
   */
  startAgain(kept: KeptReply, slot: string): boolean {
    const { connection } = this;
    if (
      !this.writable ||
      this.responseStarted ||
      !kept.fits(this, slot, connection.server.date.line) ||
      connection.closesAfter ||
      !connection.mayKeepAlive(this, kept.status >= 300)
    ) {
      return false;
    }
    this.status = kept.status;
    this.responseStarted = true;
    this.framing = kept.framing;
    this.left = kept.contentLength;
    const head = kept.head!;
    head.fill(slot);
    connection.write(head.bytes, 0, head.bytes.length);
    return true;
  }

  /** {@link startHead} and the first {@link write} in one system call. */
  startHeadWith(
    status: number,
    writer: HeadWriter,
    contentLength: number,
    hasDate: boolean,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): WriteStatus {
    if (!this.writable || this.responseStarted) return WriteStatus.Closed;
    const socket = this.connection.socket!;
    socket.cork();
    this.connection.writeLatin1(this.endHead(status, writer, contentLength, hasDate));
    this.write(bytes, start, end);
    return this.connection.wrote(socket.uncork());
  }

  private endHead(
    status: number,
    writer: HeadWriter,
    contentLength: number,
    hasDate: boolean,
  ): string {
    if (writer.errorCode !== 0) {
      throw new OnehopError('ARGUMENT_INVALID', parseErrorReason(writer.errorCode));
    }
    const { date, fixedBlock } = this.connection.server;
    writer.block(fixedBlock);
    if (!hasDate) writer.block(date.block);
    const announced = this.decideFraming(status, contentLength, false);
    const close = this.connection.closesAfter;
    const text = writer.end(
      announced,
      contentLength,
      close ? ConnectionOption.Close : ConnectionOption.KeepAlive,
    );
    if (writer.errorCode !== 0) {
      throw new OnehopError('INTERNAL', parseErrorReason(writer.errorCode));
    }
    return text;
  }

  /**
   * Sends body bytes. `Queued`: stop until `onDrain`; the range must then stay unchanged until it.
   * More than the announced Content-Length is a bug of the caller and throws INTERNAL.
   */
  write(bytes: Uint8Array, start = 0, end: number = bytes.length): WriteStatus {
    const length = end - start;
    if (this.connection.tunnel !== null && !this.finished) {
      this.responseBytes += length;
      return this.connection.write(bytes, start, end);
    }
    if (!this.writable || !this.responseStarted) return WriteStatus.Closed;
    if (length === 0) return this.writeBlocked ? WriteStatus.Queued : WriteStatus.Flushed;
    switch (this.framing) {
      case Framing.None:
        return WriteStatus.Flushed;
      case Framing.Length:
        if (length > this.left) {
          throw new OnehopError('INTERNAL', 'the response body exceeds its Content-Length');
        }
        this.left -= length;
        this.responseBytes += length;
        return this.connection.write(bytes, start, end);
      case Framing.Chunked: {
        this.responseBytes += length;
        const open = this.chunkOpen ? '\r\n' : '';
        this.chunkOpen = true;
        return this.writeBoth(`${open}${length.toString(16)}\r\n`, bytes, start, end, '');
      }
      default:
        this.responseBytes += length;
        return this.connection.write(bytes, start, end);
    }
  }

  /** Whether {@link writeChunks} may be used: the response is under way and its body is chunked. */
  get takesChunks(): boolean {
    return this.writable && this.framing === Framing.Chunked && this.connection.tunnel === null;
  }

  /**
   * Sends `bytes[start, end)`, whole chunks with their framing that hold `dataBytes` of data, none of
   * them the last (RFC 9112 section 7.1), as they are. Only where {@link takesChunks}; the caller
   * answers for their being well-formed.
   */
  writeChunks(bytes: Uint8Array, start: number, end: number, dataBytes: number): WriteStatus {
    if (!this.writable) return WriteStatus.Closed;
    const { connection } = this;
    this.responseBytes += dataBytes;
    if (!this.chunkOpen) return connection.write(bytes, start, end);
    this.chunkOpen = false;
    const socket = connection.socket!;
    socket.cork();
    connection.writeLatin1('\r\n');
    connection.write(bytes, start, end);
    return connection.wrote(socket.uncork());
  }

  /**
   * Ends the response. `trailers` go out only with chunked framing (RFC 9112 section 7.1.2). A body
   * shorter than its Content-Length cannot be ended: the connection is cut, so that the caller sees
   * it is not complete.
   */
  end(trailers: FieldBlock = noFields): WriteStatus {
    if (this.connection.tunnel !== null && !this.finished) {
      this.connection.socket!.end();
      return WriteStatus.Flushed;
    }
    if (!this.writable || !this.responseStarted) return WriteStatus.Closed;
    if (this.framing === Framing.Length && this.left > 0) {
      this.abort(new OnehopError('INTERNAL', 'the response body is shorter than announced'));
      return WriteStatus.Closed;
    }
    let result: WriteStatus = WriteStatus.Flushed;
    this.responseEnded = true;
    if (this.framing === Framing.Chunked) {
      const tail = `${this.chunkOpen ? '\r\n' : ''}0\r\n${trailers.text}\r\n`;
      result = this.connection.writeLatin1(tail);
    }
    this.connection.responseDone(this);
    return result;
  }

  /** {@link write} and {@link end} in one system call: the tail of a stream (design rule 7). */
  endWith(bytes: Uint8Array, start = 0, end: number = bytes.length): WriteStatus {
    if (!this.writable || !this.responseStarted) return WriteStatus.Closed;
    const length = end - start;
    if (this.framing === Framing.Chunked && length > 0) {
      const open = this.chunkOpen ? '\r\n' : '';
      this.responseBytes += length;
      this.responseEnded = true;
      const result = this.writeBoth(
        `${open}${length.toString(16)}\r\n`,
        bytes,
        start,
        end,
        '\r\n0\r\n\r\n',
      );
      this.connection.responseDone(this);
      return result;
    }
    const result = this.write(bytes, start, end);
    return result === WriteStatus.Closed ? result : this.end();
  }

  /**
   * Cuts the response off so that the caller cannot take it for complete: RST. Before the head is
   * out, prefer an answer of your own. `onAbort` and `onFinish` follow at once.
   */
  abort(error: OnehopError = new OnehopError('ABORTED', 'the response was given up')): void {
    if (!this.finished) this.connection.cut(this, error);
  }

  /**
   * Ends a connection that was handed over: what was written is still delivered, and a caller that
   * does not close its side is cut off after a while.
   */
  endTunnel(): void {
    if (!this.finished) this.connection.endTunnel(this);
  }

  /** Until {@link uncork} what is written is gathered, to leave in as few system calls as possible. */
  cork(): void {
    if (!this.finished) this.connection.socket!.cork();
  }

  uncork(): WriteStatus {
    return this.connection.uncork();
  }

  /**
   * Ends a response that cannot be completed behind what was written so far: the caller reads that
   * much, then sees that the message is cut short (no last chunk, too few bytes). `onAbort` and
   * `onFinish` follow at once.
   */
  truncate(error: OnehopError): void {
    if (!this.finished) this.connection.truncate(this, error);
  }

  /** Says `Connection: close` in the head to come and closes after this response. */
  closeAfter(): void {
    if (!this.finished) this.connection.setCloseAfter();
  }

  /**
   * Answers 101 and hands the connection over (RFC 9110 section 7.8): from now on `write`, `end`,
   * `pause`, `resume` and `abort` act on raw bytes. Bytes that came behind the request reach
   * `tunnel.data` first. Throws ARGUMENT_INVALID unless the request asks for an upgrade and has no
   * body, and for a protocol that is no field value.
   */
  upgrade(protocol: string, fields: FieldBlock, tunnel: TunnelHandler<State>): WriteStatus {
    if (!this.writable || this.responseStarted) return WriteStatus.Closed;
    if (!this.connection.offersUpgrade || protocol === '' || !isFieldValue(protocol)) {
      throw new OnehopError('ARGUMENT_INVALID', 'the request cannot be upgraded so');
    }
    this.status = 101;
    this.responseStarted = true;
    this.responseEnded = true;
    const head = `${statusLine(101)}Connection: upgrade\r\nUpgrade: ${protocol}\r\n${fields.text}\r\n`;
    const result = this.connection.writeLatin1(head);
    if (result !== WriteStatus.Closed) this.connection.enterTunnel(tunnel);
    return result;
  }

  /**
   * Hands the connection over like {@link upgrade}, but without writing anything: for stand-ins that
   * must send what a server never would. The connection never serves HTTP again. Call it when the
   * request is complete; what the handler writes from now on is its own business.
   */
  takeOver(tunnel: TunnelHandler<State>): void {
    if (!this.writable || this.responseStarted) return;
    this.responseStarted = true;
    this.responseEnded = true;
    this.connection.enterTunnel(tunnel);
  }

  /** Decides the framing and makes the head (RFC 9112 section 6; RFC 9110 sections 6.6.1, 8.6). */
  private makeHead(
    status: number,
    fields: FieldBlock,
    contentLength: number,
    complete: boolean,
  ): string {
    const { fixedFields, date } = this.connection.server;
    const sent = this.decideFraming(status, contentLength, complete);
    let framing = '';
    if (sent === Framing.Length) framing = `Content-Length: ${contentLength}\r\n`;
    else if (sent === Framing.Chunked) framing = 'Transfer-Encoding: chunked\r\n';
    const close = this.connection.closesAfter ? 'Connection: close\r\n' : '';
    const line = date.line;
    return `${statusLine(status)}${fields.text}${fixedFields}${line}${close}${framing}\r\n`;
  }

  /**
   * Settles framing and persistence of the response and marks it as started. Returns the framing to
   * announce, which for HEAD is the one GET would have; what is sent is in `this.framing`.
   */
  private decideFraming(status: number, contentLength: number, complete: boolean): Framing {
    if (!(status >= 200 && status <= 599) || !Number.isInteger(status)) {
      throw new OnehopError('ARGUMENT_INVALID', `${status} is no final status`);
    }
    if (
      !complete &&
      contentLength !== unknownLength &&
      !(contentLength >= 0 && Number.isSafeInteger(contentLength))
    ) {
      throw new OnehopError('ARGUMENT_INVALID', 'contentLength must be a whole number of bytes');
    }
    let announced: Framing = Framing.None;
    if (status !== 204 && status !== 304) {
      if (contentLength >= 0) announced = Framing.Length;
      else announced = this.versionMinor === 0 ? Framing.Close : Framing.Chunked;
    }
    this.status = status;
    this.responseStarted = true;
    this.framing = this.isHead ? Framing.None : announced;
    this.left = complete ? 0 : contentLength;
    // Who refuses does not read on; a body may go on behind the head of a success.
    const isEarlyEnd = complete || status >= 300;
    if (announced === Framing.Close || !this.connection.mayKeepAlive(this, isEarlyEnd)) {
      this.connection.setCloseAfter();
    }
    return announced;
  }

  private writeBoth(
    before: string,
    bytes: Uint8Array,
    start: number,
    end: number,
    after: string,
  ): WriteStatus {
    const connection = this.connection;
    if (end - start <= joinBytesMax) {
      return connection.writeLatin1(before + latin1Slice.call(bytes, start, end) + after);
    }
    const socket = connection.socket!;
    socket.cork();
    connection.writeLatin1(before);
    connection.write(bytes, start, end);
    if (after !== '') connection.writeLatin1(after);
    return connection.wrote(socket.uncork());
  }
}
