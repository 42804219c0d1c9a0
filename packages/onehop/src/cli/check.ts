/** `onehop check FILE`: every problem of a configuration, and nothing is started. */
import type { Command } from 'commander';
import { fileSource } from './config-source.ts';

/** Prints the problems or one line of summary; resolves to the exit code. */
export function check(file: string): number {
  const { config, problems } = fileSource(file).load();
  if (config === null) {
    for (const problem of problems) console.error(problem);
    console.error(`${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`);
    return 2;
  }
  const upstreams = Object.values(config.upstreams);
  const targets = upstreams.reduce((sum, upstream) => sum + upstream.targets.length, 0);
  console.log(
    `${file}: fine: ${config.routes.length} routes, ${upstreams.length} upstreams, ${targets} targets`,
  );
  return 0;
}

export function checkCommand(program: Command): void {
  program
    .command('check')
    .description('say everything that is wrong with a configuration file')
    .argument('<file>', 'configuration')
    .action((file: string) => {
      process.exitCode = check(file);
    });
}
