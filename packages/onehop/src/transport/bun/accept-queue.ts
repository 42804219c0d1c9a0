/**
 * The queue of connections that wait to be accepted, of which Bun tells nothing: asked of the C
 * library. Where there is none of the kind known here (another system, processor or C library, no
 * foreign functions, a call that is not permitted), queues look empty and stay open.
 *
 * The two calls read and write nothing but the memory below, which is never freed, moved or shortened,
 * and are over when they return. A listener that has been closed has descriptor -1, not one that may be
 * another's by now: both calls then fail and change nothing.
 */
import { readFileSync } from 'node:fs';

interface Libc {
  poll(fds: unknown, count: number, timeoutMs: number): number;
  setsockopt(fd: number, level: number, name: number, value: unknown, size: number): number;
  addressOf(bytes: ArrayBufferView): number;
}

let libc: Libc | null = null;

/** Where the numbers and structures below are as written here: 64 bits, the lowest byte first. */
const isLaidOutAsHere = new Set(['x64', 'arm64']);

/** `struct pollfd`: int fd, short events, short revents. */
const request = new Int32Array(2);
const readable = 1;

const socketLevel = 1;
const attachFilter = 26;
/**
 * A filter of packets, `struct sock_filter` each (u16 code, u8 then, u8 else, u32 operand): the byte
 * of the TCP flags; dropped if SYN is in it, else let through whole. What is established or in its
 * handshake goes on; a connection that was accepted with the filter on has no use for such packets.
 */
const dropSyn = new Uint32Array([0x30, 13, 0x01_00_00_45, 2, 0x06, 0, 0x06, 0xff_ff_ff_ff]);
/** `struct sock_fprog`: u16 length, then the address of the filter. */
const program = new BigUint64Array(2);

/** Finds what is needed of the C library. Resolves in any case. */
export async function learnPending(): Promise<void> {
  if (libc !== null || process.platform !== 'linux' || !isLaidOutAsHere.has(process.arch)) return;
  try {
    // Not a literal: Node's resolver and types know no such module.
    const name = 'bun:ffi';
    const { dlopen, ptr } = await import(name);
    const { symbols } = dlopen('libc.so.6', {
      poll: { args: ['ptr', 'u64', 'i32'], returns: 'i32' },
      setsockopt: { args: ['i32', 'i32', 'i32', 'ptr', 'u32'], returns: 'i32' },
    });
    libc = { poll: symbols.poll, setsockopt: symbols.setsockopt, addressOf: ptr };
  } catch {
    // Another C library, or no foreign functions here.
  }
}

export function hasPending(listener: number): boolean {
  if (libc === null) return false;
  request[0] = listener;
  request[1] = readable;
  return libc.poll(libc.addressOf(request), 1, 0) > 0;
}

/** Whether Linux brings what waits at a port that closes to another socket of the same port. */
function kernelMoves(): boolean {
  try {
    return readFileSync('/proc/sys/net/ipv4/tcp_migrate_req', 'latin1').trim() === '1';
  } catch {
    return false;
  }
}

/**
 * From now on a caller who begins a handshake with this socket gets no answer: it asks again after a
 * second, and is heard by another socket of the port if this one is closed by then. False where that
 * cannot be had or is not needed.
 */
export function ignoreNew(listener: number): boolean {
  if (libc === null || kernelMoves()) return false;
  program[0] = BigInt(dropSyn.length / 2);
  program[1] = BigInt(libc.addressOf(dropSyn));
  const address = libc.addressOf(program);
  return libc.setsockopt(listener, socketLevel, attachFilter, address, program.byteLength) === 0;
}
