/** The API server as a program: `node main.js` or `bun main.js` with the environment of config.ts. */
import { fileURLToPath } from 'node:url';
import { readApiConfig } from './config.ts';
import type { RunningServer } from './program.ts';
import { explainListenError, runServerProgram } from './program.ts';
import { buildApi } from './server.ts';

/** Reads the environment, builds the server and listens. Throws CliError in plain words. */
export async function startApiServer(env: NodeJS.ProcessEnv): Promise<RunningServer> {
  const config = readApiConfig(env);
  const app = await buildApi(config);
  try {
    await app.listen({ host: config.host, port: config.port, backlog: 4096 });
  } catch (error) {
    await app.close();
    throw explainListenError(error, config.host, config.port);
  }
  const address = app.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : config.port;
  return { host: config.host, port, close: () => app.close() };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runServerProgram('onehop bench api', () => startApiServer(process.env));
}
