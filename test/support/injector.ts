/**
 * Throws at every place where the gateway or the client is called from outside, one at a time: at
 * each event of a socket, each deadline, each timer, each callback of a handler, each hook. The places
 * are found by what they go through (the transport, the wheel, `Origin.dispatch`, `Exchange.upgrade`),
 * so a new timer or callback is among them without being listed here.
 */
import assert from 'node:assert/strict';
import { type ExchangeHandler, Origin, type Tunnel } from 'onehop/client';
import { type Clock, type Deadline, DeadlineWheel } from 'onehop/core';
import { Exchange as DownstreamExchange } from 'onehop/server';
import type { Socket, SocketHandlers, Transport } from 'onehop/transport';

// biome-ignore lint/suspicious/noExplicitAny: methods of any object are wrapped.
type Any = any;
type Method = (this: unknown, ...given: Any[]) => unknown;

export type When = 'before' | 'after';

/** What is thrown; nothing else may be reported. */
export class Injected extends Error {}

/** One run of a scenario: counts the places, or throws at one of them. */
export class Injector {
  /** Every place that was passed, in order. */
  readonly places: string[] = [];
  readonly #at: number;
  readonly #when: When;
  thrown: Injected | null = null;

  /** `at` -1 only counts. */
  constructor(at = -1, when: When = 'before') {
    this.#at = at;
    this.#when = when;
  }

  /** Throws before or after `real` when it is its turn. */
  pass<T>(place: string, real: () => T): T {
    const isMine = this.places.push(place) - 1 === this.#at;
    if (isMine && this.#when === 'before') throw this.#make(place);
    const result = real();
    if (isMine) throw this.#make(place);
    return result;
  }

  #make(place: string): Injected {
    this.thrown = new Injected(`injected ${this.#when} ${place}`);
    return this.thrown;
  }
}

/** The run under way; null between runs. */
let current: Injector | null = null;
/** An event of a socket was handed over and has not reached a method of its connection yet. */
let edge = '';
/** `setTimer` of a wheel is on the stack, where it may not show: it ends with a tail call. */
let inSetTimer = false;

export function inject(injector: Injector | null): void {
  current = injector;
}

const pass = <T>(place: string, real: () => T): T =>
  current === null ? real() : current.pass(place, real);

/** Wraps every function of `owner` that `isWanted`; done once, a place as long as a run is under way. */
function wrapOnce(owner: Any, name: string, make: (real: Method) => Method): void {
  const own = Object.getOwnPropertyDescriptor(owner, name);
  if (typeof own?.value !== 'function' || wrapped.has(own.value)) return;
  const replacement = make(own.value);
  wrapped.add(replacement);
  Object.defineProperty(owner, name, { ...own, value: replacement });
}
const wrapped = new WeakSet<object>();

/** Every hook of an object that somebody else calls: a new object with the same keys. */
export function hooked<T extends object>(kind: string, hooks: T): T {
  const made = Object.create(Object.getPrototypeOf(hooks)) as Any;
  for (const [key, value] of Object.entries(hooks)) {
    made[key] =
      typeof value === 'function'
        ? (...given: unknown[]) => pass(`${kind}.${key}`, () => value.apply(hooks, given))
        : value;
  }
  return made as T;
}

/** Methods that an event of a socket calls first are where it arrives. */
function watchEvents(state: object): void {
  const { server } = state as { server?: object };
  for (const one of server === undefined ? [state] : [state, server]) {
    const prototype = Object.getPrototypeOf(one);
    if (prototype === Object.prototype) continue;
    for (const name of Object.getOwnPropertyNames(prototype)) {
      // A deadline is a place of its own: see `watchEverything`.
      if (name === 'constructor' || name === 'onDeadline') continue;
      wrapOnce(
        prototype,
        name,
        (real) =>
          function (this: unknown, ...given) {
            if (edge === '') return real.apply(this, given);
            const place = `${edge} → ${name}`;
            edge = '';
            return pass(place, () => real.apply(this, given));
          },
      );
    }
  }
  const { handler } = (server ?? {}) as { handler?: Any };
  for (const key of Object.keys(handler ?? {})) {
    wrapOnce(
      handler,
      key,
      (real) =>
        function (this: unknown, ...given) {
          return pass(`server handler.${key}`, () => real.apply(this, given));
        },
    );
  }
}

function watchedHandlers<State>(
  side: string,
  handlers: SocketHandlers<State>,
): SocketHandlers<State> {
  const made = {} as Any;
  for (const event of Object.keys(handlers) as (keyof SocketHandlers<State>)[]) {
    made[event] = (socket: Socket<State>, more: unknown) => {
      watchEvents(socket.state as object);
      const outer = edge;
      edge = current === null ? '' : `${side} ${event}`;
      try {
        (handlers[event] as Method).call(handlers, socket, more);
      } finally {
        edge = outer;
      }
    };
  }
  return made as SocketHandlers<State>;
}

/** Methods of an object, and of all of its kind, that a callback leads to. */
export function watchMethods(one: object, names: readonly string[]): void {
  const prototype = Object.getPrototypeOf(one);
  for (const name of names) {
    wrapOnce(
      prototype,
      name,
      (real) =>
        function (this: unknown, ...given) {
          return pass(name, () => real.apply(this, given));
        },
    );
  }
}

/** A transport whose events and connects are places, and whose clock only the wheel may set timers on. */
export function watchedTransport(transport: Transport): Transport {
  const clock: Clock = {
    nowMs: () => transport.clock.nowMs(),
    setTimer(callback, delayMs) {
      if (!inSetTimer) {
        const caller = new Error().stack!.split('\n')[2]!;
        assert.match(caller, /core\/timers\./, 'a timer that the wheel does not guard');
      }
      return transport.clock.setTimer(callback, delayMs);
    },
    clearTimer: (handle) => transport.clock.clearTimer(handle),
  };
  return {
    ...transport,
    clock,
    connect: (options, handlers, state) =>
      pass('connect', () => transport.connect(options, watchedHandlers('up', handlers), state)),
    listen: (options, handlers, makeState) =>
      transport.listen(options, watchedHandlers('down', handlers), makeState),
  };
}

const handlersMade = new WeakMap<object, ExchangeHandler>();

function watchTunnel(tunnel: Tunnel): void {
  if (tunnel.handler !== null) tunnel.handler = hooked('upstream tunnel', tunnel.handler);
}

/** The callbacks of an exchange; `onFault` hears of a throw, and is not where one begins. */
function watchedExchange(handler: ExchangeHandler): ExchangeHandler {
  const found = handlersMade.get(handler);
  if (found !== undefined) return found;
  const made = hooked('exchange', handler) as Any;
  if (handler.onFault !== undefined) made.onFault = handler.onFault;
  if (handler.onUpgrade !== undefined) {
    const onUpgrade = made.onUpgrade as Method;
    made.onUpgrade = (...given: Any[]) => {
      onUpgrade.apply(made, given);
      watchTunnel(given[2] as Tunnel);
    };
  }
  handlersMade.set(handler, made);
  return made;
}

/** Puts the places in; for good, but they are passed through while no run is under way. */
export function watchEverything(): void {
  wrapOnce(
    Origin.prototype,
    'dispatch',
    (real) =>
      function (this: unknown, request, handler, ...more) {
        return real.call(this, request, watchedExchange(handler), ...more);
      },
  );
  wrapOnce(
    DownstreamExchange.prototype,
    'upgrade',
    (real) =>
      function (this: unknown, ...given) {
        const [protocol, fields, tunnel] = given;
        return real.call(this, protocol, fields, hooked('downstream tunnel', tunnel));
      },
  );
  wrapOnce(
    DeadlineWheel.prototype,
    'arm',
    (real) =>
      function (this: unknown, ...given) {
        const owner = Object.getPrototypeOf((given[0] as Deadline).owner);
        wrapOnce(
          owner,
          'onDeadline',
          (fire) =>
            function (this: Any, kind) {
              // Without a kind it is a call of the owner's own.
              if (kind === undefined) return fire.call(this);
              return pass(`deadline ${this.constructor.name} ${kind}`, () => fire.call(this, kind));
            },
        );
        return real.apply(this, given);
      },
  );
  wrapOnce(
    DeadlineWheel.prototype,
    'setTimer',
    (real) =>
      function (this: unknown, ...given) {
        const [where, callback, ...more] = given;
        inSetTimer = true;
        try {
          return real.call(this, where, () => pass(`timer ${where}`, callback), ...more);
        } finally {
          inSetTimer = false;
        }
      },
  );
}
