/** Whether connections wait to be accepted, which Bun does not tell: asked of the C library. */

type Poll = (fds: unknown, count: number, timeoutMs: number) => number;

/** `struct pollfd`: int fd, short events, short revents. */
const request = new Int32Array(2);
const readable = 1;
let poll: Poll | null = null;
let address: unknown = null;

/** Finds `poll`; without it, every queue looks empty. Resolves in any case. */
export async function learnPending(): Promise<void> {
  if (poll !== null || process.platform !== 'linux') return;
  try {
    // Not a literal: Node's resolver and types know no such module.
    const name = 'bun:ffi';
    const { dlopen, ptr } = await import(name);
    const library = dlopen('libc.so.6', { poll: { args: ['ptr', 'u64', 'i32'], returns: 'i32' } });
    address = ptr(request);
    poll = library.symbols.poll as Poll;
  } catch {
    // Another C library, or no foreign functions here.
  }
}

export function hasPending(listener: number): boolean {
  if (poll === null) return false;
  request[0] = listener;
  request[1] = readable;
  return poll(address, 1, 0) > 0;
}
