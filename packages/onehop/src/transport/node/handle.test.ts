import assert from 'node:assert/strict';
import { test } from 'node:test';
import { knowsWrites, learnWrites, type StreamHandle } from './handle.ts';

class Request {
  oncomplete(): void {}
}

class Handle {
  readonly writeQueueSize = 0;
  readonly seen: unknown[] = [];
  writeBuffer(request: unknown): number {
    this.seen.push(request);
    return 0;
  }
  writeLatin1String(request: unknown): number {
    this.seen.push(request);
    return 0;
  }
}

test('learning from a handle took away what somebody else had put on it', () => {
  const handle = new Handle();
  let watched = 0;
  const watch = function (this: Handle, request: unknown): number {
    watched++;
    return Handle.prototype.writeBuffer.call(this, request);
  };
  Object.assign(handle, { writeBuffer: watch });
  // Twice, as by two writes of which the first one was held back.
  learnWrites(handle as unknown as StreamHandle);
  learnWrites(handle as unknown as StreamHandle);
  const request = new Request();
  assert.equal(handle.writeBuffer(request), 0);
  assert.ok(knowsWrites());
  assert.deepEqual([handle.seen, watched], [[request], 1]);
  assert.equal(handle.writeBuffer, watch);
  assert.equal(handle.writeLatin1String, Handle.prototype.writeLatin1String);
});
