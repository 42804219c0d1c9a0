/**
 * Bodies that nobody can ask for any more give their connection back: those of responses that were
 * forgotten before anybody looked at the body, and of streams that were forgotten before their end.
 *
 * To be watched costs the collector more than all the rest of a response, so it is decided at the end of
 * the turn: by then most bodies are complete, or somebody reads them whole.
 */
import { reportFault } from '../core/index.ts';
import type { BodyReader } from './body-reader.ts';

/** Called by the collector, which has nobody to throw to. */
function giveUp(reader: BodyReader): void {
  try {
    reader.abort();
  } catch (error) {
    reportFault(error, 'the end of a forgotten body');
  }
}

const responses = new FinalizationRegistry<BodyReader>((reader) => {
  // Whoever took the body may hold it without the response.
  if (!reader.used) giveUp(reader);
});
const streams = new FinalizationRegistry<BodyReader>(giveUp);

/** What came up in this turn, held until it is over. */
interface Recent {
  readonly watched: object;
  readonly reader: BodyReader;
  readonly isStream: boolean;
}
let recent: Recent[] = [];

/** A response whose body did not come along with its head. */
export function watchResponse(response: object, reader: BodyReader): void {
  watch({ watched: response, reader, isStream: false });
}

/**
 * A stream over `reader`. Nothing that the connection leads to may hold it, except while somebody waits
 * for the next piece.
 */
export function watchStream(stream: object, reader: BodyReader): void {
  if (!reader.complete) watch({ watched: stream, reader, isStream: true });
}

function watch(one: Recent): void {
  if (recent.push(one) === 1) setImmediate(watchRecent);
}

function watchRecent(): void {
  const list = recent;
  recent = [];
  for (const { watched, reader, isStream } of list) {
    if (reader.complete) continue;
    if (isStream) streams.register(watched, reader);
    else if (!reader.used) responses.register(watched, reader);
  }
}
