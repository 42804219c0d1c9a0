import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommanderError } from 'commander';
import { CliError } from '../cli-error.ts';
import { readFlags } from './options.ts';

test('without flags there are five rounds of everything and nothing to compare with', () => {
  assert.deepEqual(readFlags([]), {
    quick: false,
    only: [],
    rounds: 5,
    budgetMs: null,
    out: null,
    nodes: [],
    against: null,
    againstMost: null,
  });
  assert.equal(readFlags(['--quick']).rounds, 2);
});

test('a comparison takes its revision, its bar, its rounds and its budget', () => {
  const words = '--only P1,P2,P6,P7 --against b8d0639 --against-bar 1.05 --rounds 9 --budget 15m';
  const flags = readFlags([...words.split(' '), '--node', '/a', '--node', '/b']);
  assert.deepEqual(flags.only, ['P1', 'P2', 'P6', 'P7']);
  assert.equal(flags.against, 'b8d0639');
  assert.equal(flags.againstMost, 1.05);
  assert.equal(flags.rounds, 9);
  assert.equal(flags.budgetMs, 900_000);
  assert.deepEqual(flags.nodes, ['/a', '/b']);
});

test('a budget alone takes as many rounds as fit', () => {
  assert.equal(readFlags(['--budget', '90s']).rounds, Number.POSITIVE_INFINITY);
});

test('what is no value is refused by name', () => {
  for (const [words, what] of [
    [['--against', ' '], /--against/],
    [['--against-bar', '1.02'], /--against-bar needs --against/],
    [['--against', 'HEAD', '--against-bar', 'much'], /--against-bar/],
    [['--against', 'HEAD', '--against-bar', '0'], /--against-bar/],
    [['--budget', '15'], /--budget/],
    [['--rounds', '0'], /--rounds/],
  ] as const) {
    assert.throws(
      () => readFlags(words),
      (error: Error) => error instanceof CliError && what.test(error.message),
      words.join(' '),
    );
  }
});

test('an option that is none is refused', () => {
  const { stderr } = process;
  const { write } = stderr;
  stderr.write = () => true;
  try {
    assert.throws(() => readFlags(['--agianst', 'HEAD']), CommanderError);
  } finally {
    stderr.write = write;
  }
});
