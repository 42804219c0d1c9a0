/** The models of requests and responses, from which validation and the OpenAPI document are made. */
import { Type } from '@fastify/type-provider-typebox';

export const MessageResponse = Type.Object(
  { message: Type.String({ description: 'A random UUID, version 4' }) },
  { title: 'MessageResponse' },
);

export const SendResponse = Type.Object(
  {
    status: Type.Literal(1),
    message: Type.String({ description: "The upstream's message" }),
  },
  { title: 'SendResponse' },
);

export const UpstreamErrorResponse = Type.Object(
  {
    error: Type.Object({
      upstream: Type.String({ description: 'URL that was asked' }),
      client: Type.String({ description: 'Client that asked' }),
      phase: Type.Union(
        [
          Type.Literal('connect'),
          Type.Literal('exchange'),
          Type.Literal('timeout'),
          Type.Literal('status'),
          Type.Literal('body'),
        ],
        { description: 'Where the exchange with the upstream failed' },
      ),
      message: Type.String(),
    }),
  },
  { title: 'UpstreamErrorResponse' },
);

export const ErrorResponse = Type.Object(
  {
    error: Type.Object({
      message: Type.String(),
      known: Type.Optional(Type.Array(Type.String(), { description: 'Names that exist' })),
    }),
  },
  { title: 'ErrorResponse' },
);
