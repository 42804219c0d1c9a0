import { KnownField } from './known-field.ts';

/**
 * Fields of one connection, never forwarded (RFC 9110 section 7.6.1); indexed by
 * {@link KnownField}.
 */
export const HOP_BY_HOP: Uint8Array = new Uint8Array(64);
for (const id of [
  KnownField.Connection,
  KnownField.Http2Settings,
  KnownField.KeepAlive,
  KnownField.ProxyConnection,
  KnownField.TE,
  KnownField.TransferEncoding,
  KnownField.Upgrade,
]) {
  HOP_BY_HOP[id] = 1;
}
