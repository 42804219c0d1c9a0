import type { Command } from 'commander';

export function registerCalibrate(program: Command): void {
  program.command('calibrate').description('compare this generator with wrk and oha');
}
