/**
 * The models of requests and responses, from which validation and the OpenAPI document are made.
 * Plain JSON Schema: a study starts this program hundreds of times, and loading a schema builder
 * would cost more CPU than all the rest of the start.
 */
import { Ajv, type ValidateFunction } from 'ajv';

export type JsonSchema = Readonly<Record<string, unknown>>;

export const MessageResponse = {
  title: 'MessageResponse',
  type: 'object',
  required: ['message'],
  properties: { message: { type: 'string', description: 'A random UUID, version 4' } },
} as const;

export interface Message {
  message: string;
}

export const SendResponse = {
  title: 'SendResponse',
  type: 'object',
  required: ['status', 'message'],
  properties: {
    status: { type: 'number', const: 1 },
    message: { type: 'string', description: "The upstream's message" },
  },
} as const;

export const UpstreamErrorResponse = {
  title: 'UpstreamErrorResponse',
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['upstream', 'client', 'phase', 'message'],
      properties: {
        upstream: { type: 'string', description: 'URL that was asked' },
        client: { type: 'string', description: 'Client that asked' },
        phase: {
          type: 'string',
          enum: ['connect', 'exchange', 'timeout', 'status', 'body'],
          description: 'Where the exchange with the upstream failed',
        },
        message: { type: 'string' },
      },
    },
  },
} as const;

export const ErrorResponse = {
  title: 'ErrorResponse',
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['message'],
      properties: {
        message: { type: 'string' },
        known: { type: 'array', items: { type: 'string' }, description: 'Names that exist' },
      },
    },
  },
} as const;

const ajv = new Ajv();

/** A validator of one model. */
export function compileModel<Model>(model: JsonSchema): ValidateFunction<Model> {
  return ajv.compile<Model>(model);
}
