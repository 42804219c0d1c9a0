/**
 * The storm's callers, in a process of their own. The plan comes as JSON in the first argument; the
 * answer is one line of JSON with every kill. With `hold` they open everything, say `ready` and wait
 * for the SIGKILL that takes all of them at once.
 */
import { connect, type Socket } from 'node:net';
import {
  type Kill,
  openPhases,
  pause,
  phases,
  randomFrom,
  type StormPhase,
  wallMs,
} from './storm-phases.ts';

export interface CallersPlan {
  port: number;
  firstId: number;
  clients: number;
  /** They begin at random instants of so many milliseconds. */
  spreadMs: number;
  seed: number;
  /** Only phases in which the upstream has the request. */
  openOnly: boolean;
  hold: boolean;
}

const plan = JSON.parse(process.argv[2]!) as CallersPlan;
const random = randomFrom(plan.seed);
const kinds = plan.openOnly ? openPhases : phases;
/** How long a caller may live before it vanishes, at most. */
const lifeMsMax = 250;

function requestOf(phase: StormPhase, id: number): string {
  const head = `/${phase}/${id} HTTP/1.1\r\nHost: t\r\n`;
  switch (phase) {
    case 'connect':
      return '';
    case 'half-head':
      return `GET ${head}Accept: */`;
    case 'json':
      return `POST ${head}Content-Length: 7\r\n\r\n{"a":1}`;
    case 'upload':
      return `POST ${head}Content-Length: 1000000\r\n\r\n${'x'.repeat(100_000)}`;
    default:
      return `GET ${head}\r\n`;
  }
}

const lifeMs = (phase: StormPhase): number =>
  random() * (phase === 'connect' || phase === 'early' ? 4 : lifeMsMax);

interface Caller {
  socket: Socket;
  kill: Kill;
}

function open(id: number, phase: StormPhase, reset: boolean): Caller {
  const kill: Kill = { id, phase, reset, killedMs: 0, fault: null };
  const socket = connect({ port: plan.port, host: '127.0.0.1', noDelay: true });
  let text = '';
  socket.on('data', (bytes) => {
    if (text.length < 12) text += (bytes as Buffer).toString('latin1', 0, 12);
  });
  const fault = (why: string): void => {
    if (kill.killedMs === 0) kill.fault ??= `${why} ${text.slice(0, 12)}`.trim();
  };
  socket.on('error', (error) => fault(error.message));
  socket.on('end', () => fault('it was ended'));
  const request = requestOf(phase, id);
  if (request !== '') socket.write(request, 'latin1');
  return { socket, kill };
}

function end({ socket, kill }: Caller): void {
  kill.killedMs = wallMs();
  if (kill.reset) socket.resetAndDestroy();
  else socket.destroy();
}

async function one(id: number): Promise<Kill> {
  const phase = kinds[id % kinds.length]!;
  const reset = random() < 0.5;
  const [startMs, life] = [random() * plan.spreadMs, lifeMs(phase)];
  await pause(startMs);
  const caller = open(id, phase, reset);
  await pause(life);
  end(caller);
  return caller.kill;
}

const ids = Array.from({ length: plan.clients }, (_, index) => plan.firstId + index);
if (plan.hold) {
  const callers: Caller[] = [];
  for (const id of ids) {
    callers.push(open(id, kinds[id % kinds.length]!, false));
    // Not faster than a listener's backlog is emptied.
    if (id % 50 === 0) await pause(10);
  }
  await pause(500 + plan.spreadMs);
  const faults = callers.filter(({ kill }) => kill.fault !== null).map(({ kill }) => kill.fault);
  console.log(JSON.stringify({ ready: true, faults }));
  await pause(60_000);
} else {
  const kills = await Promise.all(ids.map(one));
  console.log(JSON.stringify(kills));
}
