/**
 * Certificates and keys of upstreams: read once with the configuration that names them and part of
 * it from then on, so that all its connections, those made much later too, use the same, and nothing
 * but the loading of a configuration can find a file missing.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readText, reasonOf } from './read-text.ts';
import type { GatewayConfig } from './schema.ts';
import type { Path } from './yaml.ts';

export interface MaterialFinding {
  readonly path: Path;
  readonly message: string;
}

const FILES = ['ca', 'cert', 'key'] as const;
const CERTIFICATE =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[\s\S]*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

/** Fills in the `material` of every upstream with `tls`; what is wrong with its files is returned. */
export function readMaterial(config: GatewayConfig): MaterialFinding[] {
  const findings: MaterialFinding[] = [];
  for (const [name, { tls }] of Object.entries(config.upstreams)) {
    if (tls === undefined) continue;
    const say = (key: (typeof FILES)[number], message: string): void => {
      findings.push({ path: ['upstreams', name, 'tls', key], message });
    };
    for (const key of FILES) {
      const file = tls[key];
      if (file === undefined) continue;
      try {
        tls.material[key] = readText(file);
      } catch (error) {
        say(key, `${file} cannot be read: ${reasonOf(error)}`);
      }
    }
    if (tls.cert !== undefined && tls.key === undefined) say('cert', 'needs a `key` beside it');
    if (tls.key !== undefined && tls.cert === undefined) say('key', 'needs a `cert` beside it');
    const { ca, cert, key } = tls.material;
    if (ca !== null) readCertificates(ca, (why) => say('ca', `${tls.ca}: ${why}`));
    const leaf =
      cert === null ? null : readCertificates(cert, (why) => say('cert', `${tls.cert}: ${why}`));
    const secret = key === null ? null : readKey(key, (why) => say('key', `${tls.key}: ${why}`));
    if (leaf !== null && secret !== null && !belongs(leaf, secret)) {
      say('key', `${tls.key} is not the key of the certificate ${tls.cert}`);
    }
  }
  return findings;
}

/** The first certificate of a PEM text; null when it has none, or one that cannot be read. */
function readCertificates(text: string, report: (why: string) => void): X509Certificate | null {
  let first: X509Certificate | null = null;
  let count = 0;
  for (const [block] of text.matchAll(CERTIFICATE)) {
    count++;
    try {
      const certificate = new X509Certificate(block);
      first ??= certificate;
    } catch (error) {
      report(`certificate ${count} in it cannot be read: ${(error as Error).message}`);
      return null;
    }
  }
  if (first === null) report('there is no PEM certificate in it');
  return first;
}

function readKey(text: string, report: (why: string) => void): KeyObject | null {
  try {
    return createPrivateKey(text);
  } catch (error) {
    const locked = /ENCRYPTED/.test(text) ? 'it is encrypted, which is not supported' : null;
    report(`there is no private key in it: ${locked ?? (error as Error).message}`);
    return null;
  }
}

function belongs(certificate: X509Certificate, key: KeyObject): boolean {
  try {
    return certificate.checkPrivateKey(key);
  } catch {
    // Not for us to judge: a kind of key that the runtime cannot compare.
    return true;
  }
}
