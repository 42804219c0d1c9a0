import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StudyResults } from '../results/index.ts';
import { closedCell, type SimulationOptions, simulateStudy } from '../results/synthetic.fixture.ts';
import { analyseStudy } from '../stats/index.ts';
import { verdictOf } from './verdict.ts';

const clients = [
  { id: 'fast', cpuUs: 60 },
  { id: 'slow', cpuUs: 120 },
  { id: 'slower', cpuUs: 240 },
];

const study = (options: SimulationOptions = {}): StudyResults =>
  simulateStudy({ clients, cells: [closedCell(2000, 50)], ...options });

const verdict = (options: SimulationOptions = {}, change?: (results: StudyResults) => void) => {
  const results = study(options);
  change?.(results);
  return verdictOf(analyseStudy(results));
};

test('a clear difference is told with its interval, its cell and both figures', () => {
  const { tone, sentence, limits } = verdict();
  assert.equal(tone, 'decided');
  assert.match(
    sentence,
    /^On this rig, fast forwards a request for the least CPU: [\d.]+ µs in n2000-c50\./,
  );
  assert.match(
    sentence,
    /slow, takes [12]\.\d\d× \(95 % CI [\d.]+–[\d.]+\) the CPU and answers 0\.\d\d× /,
  );
  assert.deepEqual(limits, [
    'Left out: axios@bun: Bun runs it on its own fetch, which is measured already.',
  ]);
});

test('with two runtimes each has its own first place, and an open one is called open', () => {
  const { details } = verdict({
    clients: [
      ...clients,
      { id: 'fast@bun', cpuUs: 40, runtime: 'bun' },
      { id: 'slow@bun', cpuUs: 80, runtime: 'bun' },
    ],
  });
  assert.match(
    details.join('\n'),
    /On Node fast ranks first \([\d.]+ µs\); the next, slow, takes [12]\.\d\d× \(95 % CI [^)]+\) the CPU\./,
  );
  assert.match(
    details.join('\n'),
    /On Bun fast@bun ranks first \([\d.]+ µs\); the next, slow@bun, takes/,
  );
  const close = verdict({
    rounds: 10,
    entryNoise: 0.3,
    clients: [
      ...clients,
      { id: 'a@bun', cpuUs: 40, runtime: 'bun' },
      { id: 'b@bun', cpuUs: 42, runtime: 'bun' },
    ],
  });
  assert.match(
    close.details.join('\n'),
    /On Bun the first place is undecided: [ab]@bun is measured cheapest/,
  );
});

test('clients that cost the same are tied, not ranked', () => {
  const same = [...clients, { id: 'same', cpuUs: 60 }];
  const { tone, sentence } = verdict({ clients: same, rounds: 20, entryNoise: 0.01 });
  assert.equal(tone, 'tied');
  assert.match(sentence, /(fast and same|same and fast) are tied for the least CPU per request/);
});

test('with fewer than five rounds nothing is concluded, however clear it looks', () => {
  for (const rounds of [1, 2, 4]) {
    const { tone, sentence } = verdict({ rounds });
    assert.equal(tone, 'undecided');
    assert.match(sentence, /^Undecided: \d common rounds? (is|are) too few, 5 are the least/);
    assert.doesNotMatch(sentence, /takes|least CPU/);
  }
});

test('five to nine rounds give a provisional verdict that says so first', () => {
  const { tone, sentence, limits } = verdict({ rounds: 6 });
  assert.equal(tone, 'decided');
  assert.match(sentence, /^Provisionally \(6 rounds, crude intervals\), on this rig, fast/);
  assert.ok(limits.some((limit) => /6 rounds: the intervals are crude/.test(limit)));
});

test('noise makes it undecided and the reason is told', () => {
  const near = [
    { id: 'one', cpuUs: 100 },
    { id: 'two', cpuUs: 104 },
  ];
  const { tone, sentence } = verdict({ clients: near, entryNoise: 0.25 });
  assert.equal(tone, 'undecided');
  assert.match(
    sentence,
    /^Undecided: no client is shown to differ from (one|two).*(wider than|noise)/,
  );
});

test('a breached rig gate takes the verdict away and is named with its figure', () => {
  const { tone, sentence } = verdict({}, (results) => {
    for (const run of results.measurements) run.generator.cpuUtilisation = 0.93;
  });
  assert.equal(tone, 'undecided');
  assert.match(sentence, /not fit for a verdict.*“Generator below its ceiling”.*93 %.*below 80 %/);
});

test('a limited rig is no ground to judge requests/s', () => {
  const { sentence, limits } = verdict({ ceiling: 1.4 });
  assert.match(sentence, /requests\/s are not judged, the rig is limited/);
  assert.ok(limits.some((limit) => /^Rig-limited: the direct ceiling is 1\.\d×/.test(limit)));
});

test('who fails answers or the audit is named and not praised', () => {
  const failing = [{ id: 'cheat', cpuUs: 10, failsCheck: 'keep-alive' }, ...clients];
  const { sentence, limits } = verdict({ clients: failing, ceiling: 12 });
  assert.doesNotMatch(sentence, /cheat/);
  assert.ok(limits.some((limit) => /Not ranked: cheat \(keep-alive/.test(limit)));
});

test('an interrupted study and an empty one say what they are', () => {
  const partial = verdict({}, (results) => {
    results.complete = false;
  });
  assert.match(partial.limits[0]!, /interrupted/);
  const empty = verdict({}, (results) => {
    results.measurements = [];
  });
  assert.equal(empty.sentence, 'Undecided: no closed-loop cell was measured.');
  const alone = verdict({ clients: [clients[0]!] });
  assert.match(alone.sentence, /only fast is left to rank/);
});

test('CPU and requests/s that disagree are both told', () => {
  const { sentence } = verdict({ ceiling: 12 }, (results) => {
    for (const run of results.measurements) if (run.entry === 'slow') run.requestsPerS *= 3;
  });
  assert.match(sentence, /slow, takes .* the CPU, yet answers 1\.\d\d× .* the requests\/s/);
});

test('questions without cells to answer them say how to get an answer', () => {
  const [construction, blocking, latency] = verdict().questions;
  assert.match(construction!.answer, /^Not measured: .*--reuse/);
  assert.match(
    blocking!.answer,
    /^No: under full load \(n2000-c50\) .* with every one of 3 clients/,
  );
  assert.match(latency!.answer, /^Not measured: .*--latency/);
});

test('the upstream latency at which clients become equal is the first where all are tied', () => {
  const latencies = [0, 5, 50, 300].map((latency) => closedCell(1000, 50, latency));
  const { questions } = verdict({ cells: latencies, entryNoise: 0.01 });
  assert.match(questions[2]!.answer, /^From 50 ms on all are tied in requests\/s/);
  const never = verdict({ cells: latencies.slice(0, 2), entryNoise: 0.01 });
  assert.match(never.questions[2]!.answer, /never stops: at 5 ms slow and slower still/);
});

test('a study with one client in the latency cells does not say "0 of -1"', () => {
  const latencies = [0, 5, 50].map((latency) => closedCell(1000, 50, latency));
  const { questions } = verdict({ cells: latencies }, (results) => {
    results.measurements = results.measurements.filter(
      ({ entry, cell }) => cell === latencies[0]!.id || entry.startsWith('fast'),
    );
  });
  assert.match(questions[2]!.answer, /^Not measured: no two shared clients/);
});

const withDelays = (rounds: number, delaysMs: Record<string, number>) =>
  verdict({ rounds }, (results) => {
    for (const { entry, api } of results.measurements) {
      if (api !== null) api.loopDelayP99Ms = delaysMs[entry] ?? 1;
    }
  }).questions[1]!.answer;

test('a rig that makes every client late does not make one of them blocking', () => {
  const answer = withDelays(10, { fast: 99, slow: 110, slower: 130 });
  assert.match(answer, /^Nothing beyond the work itself/);
  assert.match(withDelays(10, { fast: 99 }), /^Yes: under full load .* fast \(99/);
});

test('blocking seen in a single round is no more than a suspicion', () => {
  assert.match(withDelays(1, { fast: 99 }), /^Perhaps, but too few rounds to be sure \(1 round\)/);
});

test('a study that stopped on its outcome says so among its limits', () => {
  const { limits } = verdict({}, (results) => {
    results.command += ' --until-decided --budget 10m';
  });
  assert.ok(limits.some((limit) => limit.includes('stopping on the outcome')));
  assert.ok(!verdict().limits.some((limit) => limit.includes('--until-decided')));
});

test('clients of the same name on two runtimes are told apart when their construction is priced', () => {
  const modes = (id: string, contestant: string, cpuUs: number) => ({ id, contestant, cpuUs });
  const both = [
    modes('onehop', 'onehop', 60),
    modes('onehop.per-request', 'onehop', 120),
    modes('onehop@bun', 'onehop', 30),
    modes('onehop@bun.per-request', 'onehop', 90),
  ];
  const answer = (rounds: number) => {
    const results = study({ clients: both, rounds });
    for (const entry of results.entries) {
      if (entry.id.includes('@bun')) entry.runtime = 'bun';
      if (entry.id.endsWith('.per-request')) entry.reuse = 'per-request';
      if (entry.role === 'contestant') entry.contestant = 'onehop';
    }
    return verdictOf(analyseStudy(results)).questions[0]!.answer;
  };
  assert.match(answer(10), /shared one: onehop@bun [\d.]+× .* and onehop [\d.]+×/);
  assert.match(answer(2), /\(undecided\)/);
  assert.doesNotMatch(answer(2), /is construction/);
});
