/** The commands of the load generator: `load`, `import` and `calibrate`. */
import type { Command } from 'commander';

export function registerLoad(program: Command): void {
  program.command('load').description('load a URL and report latency and throughput (like oha)');
}

export function registerImport(program: Command): void {
  program.command('import').description('read a directory of oha result files');
}

export function registerCalibrate(program: Command): void {
  program.command('calibrate').description('compare this generator with wrk and oha');
}
