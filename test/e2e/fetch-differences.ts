/**
 * Where our fetch behaves unlike the built-in one of Node 20, by scenario of the behaviour test, and
 * why. The only list: `docs/reference/fetch.md` shows it and a test compares both.
 */
export const differences: Readonly<Record<string, string>> = {
  'field with white space around':
    'White space behind a field value is taken off (RFC 9112 section 5.1); the built-in keeps it.',
  '100 Continue first': 'An unasked 100 Continue is skipped; the built-in fails.',
  'own te': 'TE is a connection-level field and refused; the built-in sends it.',
  'own host': 'A Host field is sent as given; the built-in replaces it by the URL’s.',
  defaults: 'No `Connection: keep-alive`, which HTTP/1.1 implies.',
  'default accept-language':
    'No `Accept-Language: *` and no `Sec-Fetch-Mode`: nobody browses here.',
  refused:
    'The `cause` is an `OnehopError` with a code of its own (`CONNECT_REFUSED`); the system’s is deeper in the chain of causes.',
  'gzip cut short':
    'Compressed data that ends early is an error; the built-in hands out what it has.',
};

/** What differs on Bun besides, because the runtime's own classes do. */
export const differencesOnBun: Readonly<Record<string, string>> = {
  'Request with a body':
    'Bun’s `Request` does not tell the content type of a string body; name it in `headers`.',
};
