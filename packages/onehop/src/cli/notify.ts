/** Tells systemd how the service stands, where the unit asks for it (`Type=notify`). */
import { spawn } from 'node:child_process';

let complained = false;

/**
 * Sends `states` such as `READY=1` to NOTIFY_SOCKET with `systemd-notify`: a runtime without
 * datagram sockets on paths cannot do it itself. Does nothing outside systemd.
 */
export function notifySystemd(...states: string[]): void {
  if ((process.env['NOTIFY_SOCKET'] ?? '') === '') return;
  const child = spawn('systemd-notify', [`--pid=${process.pid}`, ...states], { stdio: 'ignore' });
  child.on('error', (error) => {
    if (complained) return;
    complained = true;
    console.error(`onehop: systemd was not told ${states.join(' ')}: ${error.message}`);
  });
}
