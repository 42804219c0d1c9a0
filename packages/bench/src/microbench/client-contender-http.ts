/** `node:http` with an agent that keeps connections. */
import * as http from 'node:http';
import { driveCallbacks, faultOf, type Open } from './client-drive.ts';

export const openHttp: Open = (options) => {
  const { host, port, path, connectionsMax } = options;
  const agent = new http.Agent({
    keepAlive: true,
    maxSockets: connectionsMax,
    maxFreeSockets: connectionsMax,
  });
  const start = (done: (error: unknown) => void): void => {
    http
      .get({ host, port, path, agent }, (response) => {
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
        });
        response.on('end', () => done(faultOf({ status: response.statusCode!, bytes }, options)));
      })
      .on('error', done);
  };
  return { drive: driveCallbacks(start), close: () => agent.destroy() };
};
