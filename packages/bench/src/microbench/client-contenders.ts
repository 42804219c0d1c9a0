/**
 * The clients that `bench:client` compares: each gets one URL and reads the whole body. A process loads
 * the one it runs and no other: what lies in a heap is marked again and again while bodies come, and no
 * program pays for the clients it does not use.
 */
import type { Open } from './client-drive.ts';

export interface Contender {
  name: string;
  runtimes: readonly ('node' | 'bun')[];
  load(): Promise<Open>;
}

const both = ['node', 'bun'] as const;
const onNode = ['node'] as const;

export const contenders: readonly Contender[] = [
  {
    name: 'onehop-client',
    runtimes: both,
    load: async () => (await import('./client-contender-client.ts')).openClient,
  },
  {
    name: 'onehop-core',
    runtimes: both,
    load: async () => (await import('./client-contender-core.ts')).openCoreUnpipelined,
  },
  {
    name: 'onehop-core-pipelined',
    runtimes: both,
    load: async () => (await import('./client-contender-core.ts')).openCorePipelined,
  },
  {
    name: 'onehop-fetch',
    runtimes: both,
    load: async () => {
      const { openFetch } = await import('./client-contender-fetch.ts');
      const { fetch } = await import('onehop');
      return openFetch(fetch as (url: string) => Promise<Response>);
    },
  },
  {
    name: 'undici-request',
    runtimes: onNode,
    load: async () => (await import('./client-contender-undici.ts')).openRequest,
  },
  {
    name: 'undici-dispatch',
    runtimes: onNode,
    load: async () => (await import('./client-contender-undici.ts')).openDispatch,
  },
  {
    name: 'node-http',
    runtimes: onNode,
    load: async () => (await import('./client-contender-http.ts')).openHttp,
  },
  {
    name: 'builtin-fetch',
    runtimes: both,
    load: async () => (await import('./client-contender-fetch.ts')).openFetch(globalThis.fetch),
  },
  {
    name: 'bare-sockets',
    runtimes: both,
    load: async () => (await import('./client-contender-bare.ts')).openCounting,
  },
  {
    name: 'bare-collect',
    runtimes: both,
    load: async () => (await import('./client-contender-bare.ts')).openCollecting,
  },
];
