import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RingQueue } from './ring-queue.ts';

test('behaves like an array under any sequence of operations', () => {
  const operation = fc.oneof(
    fc.record({ op: fc.constant('push' as const), item: fc.nat(9) }),
    fc.record({ op: fc.constant('shift' as const), item: fc.constant(0) }),
    fc.record({ op: fc.constant('remove' as const), item: fc.nat(9) }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
      const queue = new RingQueue<number>(2);
      const model: number[] = [];
      for (const { op, item } of operations) {
        if (op === 'push') {
          queue.push(item);
          model.push(item);
        } else if (op === 'shift') {
          assert.equal(queue.shift(), model.shift());
        } else {
          const at = model.indexOf(item);
          assert.equal(queue.remove(item), at >= 0);
          if (at >= 0) model.splice(at, 1);
        }
        assert.equal(queue.length, model.length);
        assert.equal(queue.peek(), model[0]);
        assert.deepEqual(
          model.map((_, i) => queue.at(i)),
          model,
        );
        assert.equal(queue.at(model.length), undefined);
      }
    }),
  );
});

test('clear empties it and lets go of the items', () => {
  const queue = new RingQueue<object>();
  for (let i = 0; i < 20; i++) queue.push({});
  queue.clear();
  assert.equal(queue.length, 0);
  assert.equal(queue.shift(), undefined);
});
