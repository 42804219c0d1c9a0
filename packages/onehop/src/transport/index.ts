/** The door of the transport layer: `transport` is the adapter of the runtime we run on. */
export { transport } from '#transport';
export { clearStaleSocket, type HeldAddress, holdAddress } from './hold.ts';
export * from './types.ts';
