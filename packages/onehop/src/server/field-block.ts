import { OnehopError } from '../core/index.ts';
import { FieldBlock, parseErrorReason } from '../http1/index.ts';

/** No fields beyond those the server writes. */
export const noFields = new FieldBlock([]);

/**
 * Checks name, value, name, value … once, for responses that carry them often. Header fields reach
 * a response in this form or by a `HeadWriter` only, so nothing unchecked can get there (response
 * splitting). Throws ARGUMENT_INVALID for a name that is no token, a value with a control or
 * non-latin1 character, and for the fields the server writes itself: Connection, Content-Length,
 * Keep-Alive, Transfer-Encoding and the other hop-by-hop ones.
 */
export function fieldBlock(pairs: readonly string[]): FieldBlock {
  const block = new FieldBlock(pairs);
  if (block.errorCode !== 0) {
    throw new OnehopError('ARGUMENT_INVALID', parseErrorReason(block.errorCode));
  }
  return block;
}
