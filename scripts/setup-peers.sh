#!/usr/bin/env bash
# Installs what some tests and benchmarks want beside npm packages: nginx, wrk, h2load, Chromium
# (Debian packages), newer Nodes and the Python peers' virtual environment. Each is optional: what
# cannot be had is said, and the tests that need it count as skipped.
set -u
cd "$(dirname "$0")/.."

missing=()
for pair in nginx:nginx wrk:wrk h2load:nghttp2-client chromium:chromium openssl:openssl python3:python3-venv; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || missing+=("${pair#*:}")
done
if [ "${#missing[@]}" -gt 0 ]; then
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup-peers: no apt-get here; left out: ${missing[*]}"
  elif [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then
    echo "setup-peers: not root; left out: ${missing[*]}"
  else
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
    $sudo apt-get update -qq >/dev/null 2>&1
    for package in "${missing[@]}"; do
      DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$package" \
        >/dev/null 2>&1 || echo "setup-peers: $package could not be installed; its tests are skipped"
    done
    # A web server that Debian started on port 80 is not wanted: the tests start their own.
    $sudo service nginx stop >/dev/null 2>&1 || true
  fi
fi
if [ "$(uname -sm)" = "Linux x86_64" ]; then
  # Not by --prefix, with which npm reads another global configuration: the certificates may be in it.
  (cd lab/peers/node && npm install --silent --no-audit --no-fund --no-package-lock) ||
    echo "setup-peers: newer Nodes could not be installed; their tests are skipped"
fi
[ -f scripts/setup-python.mjs ] && node scripts/setup-python.mjs
exit 0
