/** Whether `host` is an IP address and needs no resolving. IPv6 without brackets. */
export function isIP(host: string): boolean {
  if (host.includes(':')) return true; // a host name cannot hold a colon
  let dots = 0;
  let digits = 0;
  for (let i = 0; i < host.length; i++) {
    const c = host.charCodeAt(i);
    if (c === 46) {
      if (digits === 0) return false;
      dots++;
      digits = 0;
    } else if (c >= 48 && c <= 57 && digits < 3) digits++;
    else return false;
  }
  return dots === 3 && digits > 0;
}
