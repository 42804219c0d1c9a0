import type { Transport } from '../types.ts';

export declare const transport: Transport;
