/** `-F`: multipart/form-data in curl's notation. */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { CliError } from '../cli-error.ts';

/** Reads a file that a flag names. @throws CliError */
export function readNamed(flag: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'it does not exist' : code === 'EISDIR' ? 'a directory' : code;
    throw new CliError(`${flag}: cannot read ${path}: ${why}`);
  }
}

const quoted = (text: string): string =>
  text.replaceAll('"', '%22').replaceAll('\r', '%0D').replaceAll('\n', '%0A');

/** `name=value`, `name=@file` (upload) or `name=<file` (content), with `;type=` and `;filename=`. */
function part(text: string): { head: string; content: Buffer } {
  const equals = text.indexOf('=');
  if (equals <= 0) throw new CliError(`-F takes name=value or name=@file, not "${text}"`);
  const name = text.slice(0, equals);
  const [value, ...settings] = text.slice(equals + 1).split(';');
  let type = '';
  let filename = '';
  for (const setting of settings) {
    const match = /^\s*(type|filename)=(.*)$/.exec(setting);
    if (match === null) throw new CliError(`-F knows ;type= and ;filename=, not ";${setting}"`);
    if (match[1] === 'type') type = match[2]!;
    else filename = match[2]!.replace(/^"|"$/g, '');
  }
  let content: Buffer = Buffer.from(value!, 'utf8');
  if (value!.startsWith('@') || value!.startsWith('<')) {
    const path = value!.slice(1);
    content = readNamed('-F', path);
    if (value!.startsWith('@')) {
      filename ||= basename(path);
      type ||= 'application/octet-stream';
    }
  }
  let head = `content-disposition: form-data; name="${quoted(name)}"`;
  if (filename !== '') head += `; filename="${quoted(filename)}"`;
  head += '\r\n';
  if (type !== '') head += `content-type: ${type}\r\n`;
  return { head, content };
}

/** The body and its content type. */
export function multipartBody(fields: readonly string[]): { body: Buffer; contentType: string } {
  const boundary = '----onehop-boundary-7f3a9c52e1b84d06';
  const pieces: Buffer[] = [];
  for (const field of fields) {
    const { head, content } = part(field);
    pieces.push(Buffer.from(`--${boundary}\r\n${head}\r\n`), content, Buffer.from('\r\n'));
  }
  pieces.push(Buffer.from(`--${boundary}--\r\n`));
  return { body: Buffer.concat(pieces), contentType: `multipart/form-data; boundary=${boundary}` };
}
