/** What routing asks about a request head. */
import type { RequestHead } from '../http1/index.ts';
import type { RoutableRequest } from './routing/router.ts';

/** The request at hand; {@link view} is the one object for all of them. */
export class HeadView implements RoutableRequest {
  method = '';
  path = '';
  head!: RequestHead;
  #host: string | null = null;

  look(head: RequestHead, method: string, path: string): this {
    this.head = head;
    this.method = method;
    this.path = path;
    this.#host = null;
    return this;
  }

  get host(): string {
    if (this.#host === null) {
      const authority = this.head.authority.toLowerCase();
      const colon = authority.lastIndexOf(':');
      this.#host = colon > authority.lastIndexOf(']') ? authority.slice(0, colon) : authority;
    }
    return this.#host;
  }

  header(name: string): string | null {
    return this.head.get(name);
  }
}

export const view = new HeadView();
