// Makes the virtual environment of the study's Python peers (lab/peers/python/.venv) from pinned
// requirements. Exits 0 when it is ready, 3 when it cannot be had; then one sentence says why and
// the study goes on without the peers.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const dir = join(dirname(dirname(fileURLToPath(import.meta.url))), 'lab', 'peers', 'python');
const venv = join(dir, '.venv');
const stamp = join(venv, 'requirements.installed.txt');
const requirements = readFileSync(join(dir, 'requirements.txt'), 'utf8');
const python = join(venv, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
const unavailable = 3;

function run(command, args) {
  return spawnSync(command, args, { encoding: 'utf8', timeout: 300_000 });
}

function giveUp(reason) {
  console.error(`setup-python: the Python peers are left out: ${reason}`);
  process.exit(unavailable);
}

/** The last line that a failed command wrote, for one sentence. */
function lastLine(result) {
  const text = `${result.stdout ?? ''}\n${result.stderr ?? ''}`.trim();
  return text.split('\n').at(-1) || result.error?.message || 'no output';
}

function findPython() {
  for (const command of [process.env.ONEHOP_PYTHON, 'python3', 'python']) {
    if (!command) continue;
    const check = 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else 1)';
    if (run(command, ['-c', check]).status === 0) return command;
  }
  return null;
}

if (existsSync(stamp) && existsSync(python) && readFileSync(stamp, 'utf8') === requirements) {
  console.log('setup-python: ready (unchanged)');
  process.exit(0);
}
const base = findPython();
if (base === null) giveUp('Python 3.10 or newer was not found');
rmSync(venv, { recursive: true, force: true });
const made = run(base, ['-m', 'venv', venv]);
if (made.status !== 0) {
  rmSync(venv, { recursive: true, force: true });
  giveUp(`python -m venv failed (on Debian it needs python3-venv): ${lastLine(made)}`);
}
const installed = run(python, [
  '-m',
  'pip',
  'install',
  '--quiet',
  '--disable-pip-version-check',
  '--only-binary=:all:',
  '--requirement',
  join(dir, 'requirements.txt'),
]);
if (installed.status !== 0) {
  rmSync(venv, { recursive: true, force: true });
  giveUp(`the packages could not be installed: ${lastLine(installed)}`);
}
writeFileSync(stamp, requirements);
console.log(`setup-python: ready in ${venv}`);
