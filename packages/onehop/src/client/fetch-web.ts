/** How our light classes become kinds of the runtime's own. */

/** Node and Bun call a method of this name to show an object on the console. */
export const inspectWith: unique symbol = Symbol.for('nodejs.util.inspect.custom') as never;

/**
 * Puts the prototype of a runtime's class behind ours, so that `instanceof` and `constructor` say what
 * callers expect. Whatever the runtime's class has and ours has not runs on a real object, made by
 * `materialise` from ours: inherited members would not know our private state.
 */
export function pickUp(
  ours: object,
  native: { readonly prototype: object },
  materialise: (own: object) => object,
): void {
  Object.setPrototypeOf(ours, native.prototype);
  Object.defineProperty(ours, 'constructor', {
    value: native,
    writable: true,
    configurable: true,
  });
  const members = Object.getOwnPropertyDescriptors(native.prototype);
  for (const key of Reflect.ownKeys(members)) {
    const member = (members as Record<PropertyKey, PropertyDescriptor>)[key]!;
    if (Object.hasOwn(ours, key) || key === Symbol.toStringTag) continue;
    if (typeof member.value === 'function') {
      const method = member.value as (...args: unknown[]) => unknown;
      Object.defineProperty(ours, key, {
        ...member,
        value(this: object, ...args: unknown[]) {
          return method.apply(materialise(this), args);
        },
      });
    } else if (member.get !== undefined) {
      const getter = member.get;
      Object.defineProperty(ours, key, {
        ...member,
        get(this: object) {
          return getter.call(materialise(this));
        },
      });
    }
  }
}
