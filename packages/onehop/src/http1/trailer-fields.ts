import { KnownField } from './known-field.ts';

/**
 * Fields that mean something to framing, routing, authentication, caching or content processing and
 * therefore must not come late (RFC 9110 section 6.5.1). A parser drops them from the trailer
 * section, a writer refuses them.
 */
export const FORBIDDEN_IN_TRAILERS: Uint8Array = new Uint8Array(64);
for (const id of [
  KnownField.Age,
  KnownField.AltSvc,
  KnownField.Authorization,
  KnownField.CacheControl,
  KnownField.Connection,
  KnownField.ContentDisposition,
  KnownField.ContentEncoding,
  KnownField.ContentLanguage,
  KnownField.ContentLength,
  KnownField.ContentLocation,
  KnownField.ContentRange,
  KnownField.ContentType,
  KnownField.Cookie,
  KnownField.Date,
  KnownField.Expect,
  KnownField.Expires,
  KnownField.Forwarded,
  KnownField.Host,
  KnownField.Http2Settings,
  KnownField.IfMatch,
  KnownField.IfModifiedSince,
  KnownField.IfNoneMatch,
  KnownField.IfRange,
  KnownField.IfUnmodifiedSince,
  KnownField.KeepAlive,
  KnownField.Location,
  KnownField.MaxForwards,
  KnownField.Origin,
  KnownField.Pragma,
  KnownField.Proxy,
  KnownField.ProxyAuthenticate,
  KnownField.ProxyAuthorization,
  KnownField.ProxyConnection,
  KnownField.Range,
  KnownField.RetryAfter,
  KnownField.SetCookie,
  KnownField.TE,
  KnownField.Trailer,
  KnownField.TransferEncoding,
  KnownField.Upgrade,
  KnownField.Vary,
  KnownField.Via,
  KnownField.WwwAuthenticate,
  KnownField.XForwardedFor,
  KnownField.XForwardedProto,
  KnownField.XRealIp,
]) {
  FORBIDDEN_IN_TRAILERS[id] = 1;
}
