/**
 * A parser with planted bugs, each of them a real smuggling hole. If a run does not find them, the
 * fuzzer is blind, and its silence about the shipped parsers means nothing.
 */
import { runAgainstReference, type Subject, shipped } from './reference-differential.ts';
import type { Fuzzer } from './registry.ts';

/** Whitespace before the colon is tolerated (CVE-2019-16276). */
const spaceBeforeColon: Subject = (kind, text, expected) =>
  shipped(kind, text.replace(/^(Transfer-Encoding|Content-Length|X-A) :/gim, '$1:'), expected);

/** The first of two Content-Length fields wins (CVE-2026-1525). */
const firstLengthWins: Subject = (kind, text, expected) =>
  shipped(
    kind,
    text.replace(
      /(\r\nContent-Length: 5)((?:\r\n[^\r\n]+)*?)\r\nContent-Length: [^\r\n]*/gi,
      '$1$2',
    ),
    expected,
  );

/** LF alone ends a chunk-size line (CVE-2025-22871). */
const bareLfInChunk: Subject = (kind, text, expected) =>
  shipped(kind, text.replace(/\r\n([0-9a-f]+)\n/gi, '\r\n$1\r\n'), expected);

export const PLANTED: Readonly<Record<string, Subject>> = {
  spaceBeforeColon,
  firstLengthWins,
  bareLfInChunk,
};

export const canary: Fuzzer = {
  name: 'canary',
  about: 'parsers with planted bugs; must report every one of them',
  unavailable: '',
  mustFail: true,
  run: async (options) => {
    const total = { runs: 0, failures: [], explained: {} } as Awaited<ReturnType<Fuzzer['run']>>;
    for (const [name, subject] of Object.entries(PLANTED)) {
      const result = runAgainstReference('request', subject, { ...options, failuresMax: 1 });
      total.runs += result.runs;
      for (const failure of result.failures) {
        total.failures.push({ ...failure, reason: `${name}: ${failure.reason}` });
      }
    }
    return total;
  },
};
