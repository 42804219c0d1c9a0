/** The addresses of a gateway with workers, bound before any of these is started. */
import { OnehopError } from '../core/index.ts';
import type { GatewayConfig } from '../gateway/index.ts';
import { type HeldAddress, holdAddress } from '../transport/index.ts';

/**
 * Binds what the configuration says, for a single worker to inherit. Several share their port, so a
 * second gateway could share it as well and take half of the requests: it is bound alone first, which
 * fails while anybody else has it. A port 0 becomes a real one here.
 */
export async function claim(config: GatewayConfig): Promise<HeldAddress[]> {
  const held: HeldAddress[] = [];
  try {
    for (const { host, port, path } of config.listen) {
      if (path !== null && config.workers > 1) {
        const message = `${path}: a Unix socket needs one worker: --workers 1`;
        throw new OnehopError('LISTEN_FAILED', message, { phase: 'config' });
      }
      held.push(await holdAddress({ host, port, path }));
    }
  } catch (error) {
    for (const address of held) address.release();
    throw error;
  }
  return held;
}
