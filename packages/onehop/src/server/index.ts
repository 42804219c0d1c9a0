/** The downstream half: listeners, connections and exchanges over HTTP/1.1. */
export { Exchange, unknownLength } from './exchange.ts';
export { fieldBlock, noFields } from './field-block.ts';
export { KeptReply } from './kept-reply.ts';
export {
  createServer,
  defaultServerLimits,
  defaultServerTimeouts,
  type Server,
} from './server.ts';
export type {
  Refusal,
  ServerCounters,
  ServerHandler,
  ServerLimits,
  ServerOptions,
  ServerTimeouts,
  TunnelHandler,
} from './types.ts';
