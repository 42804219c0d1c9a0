/** Our client, as most callers use it. */
import { Client } from 'onehop';
import { type Answer, drivePromises, type Open } from './client-drive.ts';

export const openClient: Open = (options) => {
  const { host, port, path, connectionsMax } = options;
  const client = new Client({ connectionsMax });
  const url = `http://${host}:${port}${path}`;
  const once = async (): Promise<Answer> => {
    const response = await client.get(url);
    const body = await response.bytes();
    return { status: response.status, bytes: body.length };
  };
  return { drive: drivePromises(once, options), close: () => client.destroy() };
};
