import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkConfig } from '../config/load.ts';
import { type Balancer, createBalancer, type PickContext, triedBit } from './balancer.ts';
import { Breaker, BreakerState, Pass } from './breaker.ts';
import { hashText } from './hash.ts';
import { Target } from './target.ts';

const rules = { healthyAfter: 2, unhealthyAfter: 2, ejectAfter: 3, ejectForMs: 1000 };

/** Mulberry32: the same numbers in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

type Policy = Parameters<typeof createBalancer>[0];

function setUp(
  policy: Policy,
  weights: number[],
  options: { slowStartMs?: number; max?: number } = {},
) {
  const { config } = checkConfig({
    upstreams: {
      a: {
        targets: weights.map((weight, index) => ({ url: `http://10.0.0.${index + 1}:80`, weight })),
      },
    },
    routes: [{ upstream: 'a' }],
  });
  const targets = config!.upstreams['a']!.targets.map((target) => new Target(target, rules));
  const balancer = createBalancer(policy, targets, {
    pendingPerTargetMax: options.max ?? 1000,
    slowStartMs: options.slowStartMs ?? 0,
    random: seeded(7),
  });
  return { targets, balancer };
}

const context = (more: Partial<PickContext> = {}): PickContext => ({
  nowMs: 0,
  tried: 0,
  keyHash: 0,
  ...more,
});

function tally(
  balancer: Balancer,
  targets: Target[],
  picks: number,
  more: Partial<PickContext> = {},
): number[] {
  const counts = targets.map(() => 0);
  for (let pick = 0; pick < picks; pick++) {
    const target = balancer.pick(
      context({ ...more, keyHash: more.keyHash ?? hashText(`key ${pick}`) }),
    );
    if (target !== null) counts[targets.indexOf(target)]!++;
  }
  return counts;
}

const policies: Policy[] = ['round-robin', 'weighted', 'least-pending', 'p2c', 'hash'];

for (const policy of policies) {
  test(`${policy}: only targets that are up, below their limit and untried are picked`, () => {
    const { balancer, targets } = setUp(policy, [1, 1, 1, 1, 0], { max: 5 });
    targets[0]!.probedHealthy = false;
    targets[1]!.pending = 5;
    const counts = tally(balancer, targets, 100, { tried: triedBit(2) });
    assert.deepEqual(counts, [0, 0, 0, 100, 0]);
    assert.equal(balancer.pick(context({ tried: triedBit(2) | triedBit(3) })), null);
  });

  test(`${policy}: equal targets get about equal parts`, () => {
    const { balancer, targets } = setUp(policy, [1, 1, 1, 1]);
    for (const count of tally(balancer, targets, 4000)) {
      assert.ok(count > 800 && count < 1200, `${policy}: ${count} of 4000`);
    }
  });
}

test('weighted spreads a weight over the turns', () => {
  const { balancer, targets } = setUp('weighted', [5, 1, 1]);
  const order = Array.from({ length: 7 }, () => targets.indexOf(balancer.pick(context())!));
  assert.deepEqual(order, [0, 0, 1, 0, 2, 0, 0]);
});

test('least-pending and p2c prefer the less loaded, by weight', () => {
  for (const policy of ['least-pending', 'p2c'] as const) {
    const { balancer, targets } = setUp(policy, [1, 3]);
    targets[0]!.pending = 2;
    targets[1]!.pending = 3;
    assert.equal(balancer.pick(context()), targets[1], policy);
    targets[1]!.pending = 30;
    assert.equal(balancer.pick(context()), targets[0], policy);
  }
});

test('hash keeps a key on its target and moves only the keys of one that is gone', () => {
  const { balancer, targets } = setUp('hash', [1, 1, 1, 1]);
  const before = Array.from(
    { length: 1000 },
    (_, key) => balancer.pick(context({ keyHash: hashText(`k${key}`) }))!,
  );
  targets[2]!.probedHealthy = false;
  before.forEach((target, key) => {
    const now = balancer.pick(context({ keyHash: hashText(`k${key}`) }));
    if (target !== targets[2]) assert.equal(now, target);
    else assert.notEqual(now, targets[2]);
  });
});

test('hash respects weights and bounds the load of a hot key', () => {
  const { balancer, targets } = setUp('hash', [3, 1]);
  const [heavy, light] = tally(balancer, targets, 4000);
  assert.ok(heavy! / light! > 2.4 && heavy! / light! < 3.7, `${heavy}:${light}`);
  const hot = balancer.pick(context({ keyHash: 42 }))!;
  hot.pending = 10;
  assert.notEqual(balancer.pick(context({ keyHash: 42 })), hot);
});

test('slow start gives a target that came back a growing part', () => {
  for (const policy of ['round-robin', 'weighted', 'p2c'] as const) {
    const { balancer, targets } = setUp(policy, [1, 1], { slowStartMs: 1000 });
    targets[1]!.inRotationSinceMs = 0;
    const early = tally(balancer, targets, 1000, { nowMs: 200 })[1]!;
    const later = tally(balancer, targets, 1000, { nowMs: 1000 })[1]!;
    if (policy !== 'p2c') assert.ok(early > 80 && early < 330, `${policy}: ${early}`);
    assert.ok(later > 400 && early < later, `${policy}: ${early} then ${later}`);
  }
});

test('probes need a streak to change the verdict', () => {
  const { targets } = setUp('round-robin', [1]);
  const target = targets[0]!;
  assert.equal(target.onProbe(false, 1), false);
  assert.equal(target.onProbe(true, 2), false);
  assert.equal(target.onProbe(false, 3), false);
  assert.equal(target.onProbe(false, 4), true);
  assert.equal(target.isUp(5), false);
  assert.equal(target.onProbe(true, 6), false);
  assert.equal(target.onProbe(true, 7), true);
  assert.equal(target.isUp(8), true);
  assert.equal(target.inRotationSinceMs, 7);
});

test('failures in a row eject, longer each time, but never the last one standing', () => {
  const { targets } = setUp('round-robin', [1]);
  const target = targets[0]!;
  target.onFailure(0, true);
  target.onFailure(0, true);
  target.onSuccess();
  assert.equal(target.onFailure(0, true), false);
  target.onFailure(0, true);
  assert.equal(target.onFailure(0, true), true);
  assert.equal(target.isUp(999), false);
  assert.equal(target.isUp(1000), true);
  for (let i = 0; i < 3; i++) target.onFailure(1000, true);
  assert.equal(target.isUp(2999), false);
  assert.equal(target.isUp(3000), true);
  for (let i = 0; i < 10; i++) assert.equal(target.onFailure(3000, false), false);
  assert.equal(target.isUp(3000), true);
});

test('the breaker opens on a share of errors, probes one at a time and closes again', () => {
  const breaker = new Breaker({ errorShare: 0.5, requestsMin: 10, windowMs: 1000, openForMs: 500 });
  for (let i = 0; i < 9; i++) breaker.onResult(false, 0, false);
  assert.equal(breaker.tryPass(0), Pass.Yes);
  breaker.onResult(false, 0, false);
  assert.equal(breaker.state, BreakerState.Open);
  assert.equal(breaker.tryPass(100), Pass.No);
  assert.equal(breaker.retryAfterMs(100), 400);
  assert.equal(breaker.tryPass(500), Pass.Probe);
  assert.equal(breaker.tryPass(500), Pass.No);
  breaker.onProbeCancelled();
  assert.equal(breaker.tryPass(501), Pass.Probe);
  breaker.onResult(false, 501, true);
  assert.equal(breaker.tryPass(900), Pass.No);
  assert.equal(breaker.tryPass(1001), Pass.Probe);
  breaker.onResult(true, 1001, true);
  assert.equal(breaker.state, BreakerState.Closed);
  // Old failures are forgotten: nine more within the window do not open it.
  for (let i = 0; i < 9; i++) breaker.onResult(false, 1002, false);
  assert.equal(breaker.state, BreakerState.Closed);
  for (let i = 0; i < 5; i++) breaker.onResult(false, 9000, false);
  assert.equal(breaker.state, BreakerState.Closed);
});
