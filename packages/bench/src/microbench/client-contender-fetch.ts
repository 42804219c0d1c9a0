/** `fetch`, ours or the runtime's. */
import { type Answer, drivePromises, type Open } from './client-drive.ts';

/** The way a caller of `fetch` gets a whole body; `arrayBuffer` is the cheapest on every runtime. */
export function openFetch(get: (url: string) => Promise<Response>): Open {
  return (options) => {
    const url = `http://${options.host}:${options.port}${options.path}`;
    const once = async (): Promise<Answer> => {
      const response = await get(url);
      return { status: response.status, bytes: (await response.arrayBuffer()).byteLength };
    };
    return { drive: drivePromises(once, options), close() {} };
  };
}
