import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Clock, systemClock } from './clock.ts';
import { Deadline, DeadlineWheel } from './timers.ts';

/** A clock that moves only when told, and counts what is asked of it. */
class TestClock implements Clock {
  ms = 0.25;
  timers = new Map<number, { atMs: number; callback: () => void }>();
  made = 0;
  nowMs(): number {
    return this.ms;
  }
  setTimer(callback: () => void, delayMs: number): number {
    this.timers.set(++this.made, { atMs: this.ms + delayMs, callback });
    assert.equal(this.timers.size, 1, 'at most one runtime timer');
    return this.made;
  }
  clearTimer(handle: unknown): void {
    this.timers.delete(handle as number);
  }
  /** Fires the one timer if it is due before `untilMs`; else moves to `untilMs`. */
  step(untilMs: number): boolean {
    const [first] = this.timers;
    if (first === undefined || first[1].atMs > untilMs) {
      this.ms = untilMs;
      return false;
    }
    this.timers.delete(first[0]);
    this.ms = Math.max(this.ms, first[1].atMs);
    first[1].callback();
    return true;
  }
  runUntil(untilMs: number): void {
    while (this.step(untilMs)) {}
  }
}

class Owner {
  readonly clock: TestClock;
  fired: [kind: number, atMs: number][] = [];
  constructor(clock: TestClock) {
    this.clock = clock;
  }
  onDeadline(kind: number): void {
    this.fired.push([kind, this.clock.ms]);
  }
}

test('fires once, never early and at most a tick and a millisecond late, for any delay', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          delayMs: fc.oneof(
            fc.integer({ min: 0, max: 300 }),
            fc.integer({ min: 0, max: 20_000 }),
            fc.double({ min: 0, max: 2_000_000, noNaN: true }),
            fc.integer({ min: 0, max: 200_000_000 }),
          ),
          gapMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 50_000 })),
        }),
        { minLength: 1, maxLength: 40 },
      ),
      (plan) => {
        const clock = new TestClock();
        const wheel = new DeadlineWheel(clock, 4);
        const owner = new Owner(clock);
        const due: number[] = [];
        plan.forEach(({ delayMs, gapMs }, kind) => {
          wheel.arm(new Deadline(owner, kind), delayMs);
          due.push(clock.ms + delayMs);
          clock.runUntil(clock.ms + gapMs);
        });
        clock.runUntil(1e9);
        assert.equal(owner.fired.length, plan.length);
        for (const [kind, atMs] of owner.fired) {
          const lateMs = atMs - due[kind]!;
          assert.ok(lateMs > -1e-6 && lateMs <= 5.001, `${plan[kind]!.delayMs} ms: ${lateMs} late`);
        }
        assert.equal(clock.timers.size, 0);
        assert.equal(wheel.armedCount, 0);
      },
    ),
    { numRuns: 300 },
  );
});

test('arming again moves a deadline both ways; disarm stops it', () => {
  const clock = new TestClock();
  const wheel = new DeadlineWheel(clock);
  const owner = new Owner(clock);
  const later = new Deadline(owner, 1);
  const sooner = new Deadline(owner, 2);
  const never = new Deadline(owner, 3);
  wheel.arm(later, 100);
  wheel.arm(later, 5000);
  wheel.arm(sooner, 5000);
  wheel.arm(sooner, 100);
  wheel.arm(never, 50);
  wheel.disarm(never);
  wheel.disarm(never);
  assert.deepEqual([later.armed, sooner.armed, never.armed], [true, true, false]);
  clock.runUntil(60_000);
  assert.deepEqual(
    owner.fired.map(([kind, atMs]) => [kind, Math.round(atMs / 100) * 100]),
    [
      [2, 100],
      [1, 5000],
    ],
  );
});

test('an exchange after the other costs no runtime timer each', () => {
  const clock = new TestClock();
  const wheel = new DeadlineWheel(clock);
  const owner = new Owner(clock);
  const head = new Deadline(owner, 1);
  const total = new Deadline(owner, 2);
  for (let i = 0; i < 100_000; i++) {
    wheel.arm(total, 900_000);
    wheel.arm(head, 60_000);
    clock.runUntil(clock.ms + 1);
    wheel.disarm(head);
    wheel.disarm(total);
  }
  assert.equal(owner.fired.length, 0);
  assert.ok(clock.made < 100, `${clock.made} timers in 100 s`);
  clock.runUntil(2e6);
  assert.equal(clock.timers.size, 0, 'with nothing armed the timer lapses');
});

test('a deadline may arm and disarm others, and itself, while it fires', () => {
  const clock = new TestClock();
  const wheel = new DeadlineWheel(clock);
  let count = 0;
  const victim = new Deadline(
    {
      onDeadline: () => assert.fail('was disarmed by the one before'),
    },
    0,
  );
  const own: Deadline = new Deadline(
    {
      onDeadline() {
        assert.equal(own.armed, false);
        wheel.disarm(victim);
        if (++count < 5) wheel.arm(own, 0);
      },
    },
    0,
  );
  wheel.arm(own, 20);
  wheel.arm(victim, 20);
  clock.runUntil(1000);
  assert.equal(count, 5);
});

test('an owner that throws stops neither the others nor the timer, and is told', () => {
  const clock = new TestClock();
  const reports: string[] = [];
  const wheel = new DeadlineWheel(clock, 4, (error, where) => {
    reports.push(`${where}: ${(error as Error).message}`);
  });
  const owner = new Owner(clock);
  const fail = (message: string): never => {
    throw new Error(message);
  };
  const told: string[] = [];
  const careless = { onDeadline: () => fail('one') };
  const careful = {
    onDeadline: () => fail('two'),
    onDeadlineThrew: (kind: number, error: unknown) =>
      void told.push(`${kind}: ${(error as Error).message}`),
  };
  const hopeless = { onDeadline: () => fail('three'), onDeadlineThrew: () => fail('four') };
  [careless, careful, hopeless].forEach((bad, kind) => {
    wheel.arm(new Deadline(bad, kind), 20);
  });
  wheel.arm(new Deadline(owner, 1), 20);
  wheel.arm(new Deadline(owner, 2), 500);
  clock.runUntil(1000);
  assert.equal(owner.fired.length, 2);
  assert.equal(wheel.armedCount, 0);
  assert.deepEqual(told, ['1: two']);
  const end = 'the end of what a deadline was for: four';
  assert.deepEqual(reports.splice(0), ['a deadline: one', 'a deadline: three', end]);
  const five = (): never => fail('five');
  wheel.setTimer('a timer', five, 30, () => fail('six'));
  clock.runUntil(2000);
  assert.deepEqual(reports, ['a timer: five', 'a timer: six']);
});

test('works on the clock of the runtime', async () => {
  const wheel = new DeadlineWheel(systemClock);
  const startMs = systemClock.nowMs();
  const lateMs = await new Promise<number>((resolve) => {
    const deadline = new Deadline(
      { onDeadline: () => resolve(systemClock.nowMs() - startMs - 30) },
      0,
    );
    wheel.arm(deadline, 30);
    setTimeout(() => {}, 2000).unref();
    const keepAlive = setInterval(() => {
      if (!deadline.armed) clearInterval(keepAlive);
    }, 50);
  });
  assert.ok(lateMs >= 0, `${lateMs} ms`);
});
