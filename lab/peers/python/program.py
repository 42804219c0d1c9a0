"""What the Python servers share: settings in one sentence each, the listening socket, the ready line."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from typing import NoReturn
from urllib.parse import urlsplit


def die(name: str, sentence: str) -> NoReturn:
    print(f"{name}: {sentence}", file=sys.stderr)
    sys.exit(1)


class Settings:
    """Reads environment variables; the first that cannot be used ends the process with 1."""

    def __init__(self, name: str) -> None:
        self.name = name

    def integer(self, variable: str, fallback: int, low: int, high: int) -> int:
        text = os.environ.get(variable, "")
        if text == "":
            return fallback
        if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
            die(
                self.name,
                f'{variable} must be a whole number from {low} to {high}, not "{text}"',
            )
        return int(text)

    def choice(self, variable: str, choices: tuple[str, ...]) -> str:
        text = os.environ.get(variable, "") or choices[0]
        if text not in choices:
            die(self.name, f'{variable} must be one of {", ".join(choices)}, not "{text}"')
        return text

    def request_url(self) -> str:
        text = os.environ.get("REQUEST_URL", "")
        example = "http://127.0.0.1:8001/"
        if text == "":
            die(
                self.name,
                "REQUEST_URL is missing: set it to the base URL of the upstream, "
                f"for example {example}",
            )
        parts = urlsplit(text)
        if parts.scheme == "" or parts.netloc == "":
            die(self.name, f'REQUEST_URL is no URL: "{text}" (expected something like {example})')
        if parts.scheme != "http":
            die(self.name, f'REQUEST_URL must start with http://, not {parts.scheme}:// ("{text}")')
        if not text.endswith("/"):
            die(self.name, f'REQUEST_URL must end with a slash: "{text}/" instead of "{text}"')
        return text


def listen(name: str, host: str, port: int) -> socket.socket:
    """A listening socket; exits with one sentence when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(4096)
    except OSError as error:
        sock.close()
        in_use = "already in use" in str(error)
        reason = f"port {port} on {host} is already in use" if in_use else f"{host}:{port}: {error}"
        die(name, reason)
    sock.setblocking(False)
    return sock


def exit_with_parent() -> None:
    """With ONEHOP_EXIT_WITH_PARENT=1: ends this process when its stdin does, as a parent's death."""
    if os.environ.get("ONEHOP_EXIT_WITH_PARENT") != "1":
        return

    def wait() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def announce_ready(sock: socket.socket) -> None:
    host, port = sock.getsockname()[:2]
    url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
    line = {"ready": True, "port": port, "pid": os.getpid(), "url": url}
    print(json.dumps(line, separators=(",", ":")), flush=True)
