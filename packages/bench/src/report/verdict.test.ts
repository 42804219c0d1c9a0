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
  const { sentence, tone, details } = verdict({
    clients: [
      ...clients,
      { id: 'fast@bun', cpuUs: 40, runtime: 'bun' },
      { id: 'slow@bun', cpuUs: 80, runtime: 'bun' },
    ],
  });
  assert.equal(tone, 'decided');
  assert.match(
    sentence,
    /^On this rig: On Node, fast forwards a request for the least CPU: [\d.]+ µs in n2000-c50\. The next, slow, takes [12]\.\d\d× \(95 % CI [^)]+\) the CPU/,
  );
  assert.match(
    sentence,
    / On Bun, fast@bun forwards a request for the least CPU: [\d.]+ µs in n2000-c50\. The next, slow@bun, takes/,
  );
  assert.match(
    details.join('\n'),
    /cheapest measured of each runtime: fast \([\d.]+ µs\) and fast@bun \(/,
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
  assert.equal(close.tone, 'undecided');
  assert.match(
    close.sentence,
    /On Bun, the first place is undecided: [ab]@bun is measured cheapest/,
  );
});

test('two faces of one package may share a first place whose order is open; strangers may not', () => {
  const faces = (packages: (string | null)[]) =>
    verdict(
      {
        rounds: 10,
        entryNoise: 0.12,
        clients: [
          { id: 'one', cpuUs: 50 },
          { id: 'two', cpuUs: 51 },
          { id: 'far', cpuUs: 150 },
        ],
      },
      (results) => {
        for (const [index, entry] of results.entries.slice(0, 3).entries()) {
          entry.package = packages[index];
        }
      },
    );
  const shared = faces(['same', 'same', 'other']);
  assert.equal(shared.tone, 'decided');
  assert.match(
    shared.sentence,
    /, same forwards a request for the least CPU: [\d.]+ µs in n2000-c50 through (one|two); in which order it and (one|two) come is undecided\. The next, far, takes/,
  );
  for (const packages of [
    ['same', 'other', 'third'],
    [null, null, 'other'],
  ]) {
    const { tone, sentence } = faces(packages);
    assert.equal(tone, 'undecided');
    assert.match(sentence, /the first place is undecided: (one|two) is measured cheapest/);
  }
});

test('a first place tied with a stranger while another is open is not called decided or tied', () => {
  const { tone, sentence } = verdict(
    {
      rounds: 20,
      entryNoise: 0.01,
      clients: [
        { id: 'one', cpuUs: 50 },
        { id: 'stranger', cpuUs: 50.4 },
        { id: 'two', cpuUs: 51.5 },
        { id: 'far', cpuUs: 150 },
      ],
    },
    (results) => {
      for (const entry of results.entries) entry.package = entry.id === 'stranger' ? 'b' : 'a';
    },
  );
  assert.match(sentence, /the first place is undecided: .* tied with /);
  assert.equal(tone, 'undecided');
});

test('a package whose own two faces are alone takes no first place from an open order', () => {
  const { sentence } = verdict(
    {
      rounds: 10,
      entryNoise: 0.2,
      clients: [
        ...clients,
        { id: 'a@bun', cpuUs: 40, runtime: 'bun' },
        { id: 'b@bun', cpuUs: 42, runtime: 'bun' },
      ],
    },
    (results) => {
      for (const entry of results.entries) entry.package = 'same';
    },
  );
  assert.match(sentence, /On Bun, the first place is undecided/);
});

test('who was cheaper in every round it shares with the first is not passed over', () => {
  const results = study({
    rounds: 12,
    entryNoise: 0.01,
    clients: [
      { id: 'lucky', cpuUs: 100 },
      { id: 'cheaper', cpuUs: 80 },
      { id: 'far', cpuUs: 400 },
    ],
    // The dear half of the run is the only one that `cheaper` took part in.
    missing: (round, entry) => entry === 'cheaper' && round >= 6,
  });
  for (const { round, api } of results.measurements) {
    if (api === null || round < 6) continue;
    api.cpuPerRequestUs /= 2;
    api.cpuUserUs /= 2;
    api.cpuSystemUs /= 2;
  }
  const analysis = analyseStudy(results);
  for (const one of analysis.gates) if (one.scope === 'rig') one.verdict = 'pass';
  const { tone, sentence } = verdictOf({ ...analysis, rigInvalid: false });
  assert.equal(tone, 'undecided');
  assert.match(sentence, /lucky is measured cheapest .* but cheaper is not shown to be dearer/);
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

test('cells that the first client was not measured in are not counted against it', () => {
  const cells = [closedCell(2000, 50), closedCell(2000, 10), closedCell(2000, 200)];
  const all = verdict({ cells });
  assert.match(all.details.join('\n'), /fast is cheapest .* in 3 of 3 closed-loop cells/);
  const missing = (_: number, entry: string, cell: string) =>
    entry.startsWith('fast') && cell === 'n2000-c10';
  const some = verdict({ cells, missing });
  assert.match(some.details.join('\n'), /fast is cheapest .* in 2 of 2 closed-loop cells\.$/m);
});

test('the original pair beside the league is told with its rounds, and not judged', () => {
  const pair = (['httpx', 'aiohttp'] as const).flatMap((name, at) => [
    { id: name, cpuUs: at === 0 ? 2600 : 700, runtime: 'python' as const },
    {
      id: `${name}.per-request`,
      cpuUs: at === 0 ? 99_000 : 1200,
      runtime: 'python' as const,
      reuse: 'per-request' as const,
    },
  ]);
  const missing = (round: number, entry: string) => /httpx|aiohttp/.test(entry) && round > 1;
  const { details, questions } = verdict({ clients: [...clients, ...pair], missing });
  assert.match(
    details.join('\n'),
    /own pair ran beside the league, in 2 common rounds, too few for a verdict: httpx takes 3\.\d+× the CPU of aiohttp with a shared client and [78]\d\.\d× with a client per request\./,
  );
  assert.match(questions[0]!.answer, /\(2 rounds, measured and not judged\)/);
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
  assert.match(answer(2), /onehop 2\.00× \([\d.–]+\) \(undecided, 2 rounds\)/);
  assert.doesNotMatch(answer(2), /is construction/);
});
