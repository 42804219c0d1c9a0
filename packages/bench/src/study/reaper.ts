/**
 * A process that ends what a killed study left behind. Its stdin is a pipe from the study: `+PID`
 * puts a process group under guard, `-PID` takes it off. When the pipe closes, for whatever reason,
 * the groups still listed are killed and the reaper ends.
 */
const guarded = new Set<number>();
let rest = '';

process.stdin.setEncoding('utf8');
process.stdin.on('data', (text: string) => {
  const lines = (rest + text).split('\n');
  rest = lines.pop() ?? '';
  for (const line of lines) {
    const pid = Number(line.slice(1));
    if (!Number.isInteger(pid) || pid <= 1) continue;
    if (line.startsWith('+')) guarded.add(pid);
    else guarded.delete(pid);
  }
});
process.stdin.on('end', () => {
  for (const pid of guarded) {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
  process.exit(0);
});
// Signals to the terminal's group never reach us (own session), but a stray one must not end us
// before our work is done.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
