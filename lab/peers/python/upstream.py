"""An HTTP/2 upstream for httpx: the study's `GET /request_response/` under hypercorn.

Speaks HTTP/2 with prior knowledge and HTTP/1.1 on one port. Environment: API_HOST, API_PORT,
ONEHOP_LATENCY_MS. `GET /_onehop/upstream/` says what it saw since `POST /_onehop/upstream/reset/`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any
from uuid import uuid4

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

from program import Settings, announce_ready, listen

NAME = "python upstream"


class Upstream:
    """A bare ASGI application: a framework would only slow the ceiling of what is measured."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._waiting = 0
        self._reset()

    def _reset(self) -> None:
        self._requests = 0
        self._peak = self._waiting
        self._peers: set[Any] = set()

    def _counters(self) -> dict[str, int]:
        return {
            "requests": self._requests,
            # The server tells of connections only by the peers of their requests.
            "connectionsOpened": len(self._peers),
            "concurrencyPeak": self._peak,
        }

    async def _answer(self, scope: Any) -> tuple[int, Any]:
        route = (scope["method"], scope["path"])
        if route == ("GET", "/_onehop/upstream/"):
            return 200, self._counters()
        if route == ("POST", "/_onehop/upstream/reset/"):
            self._reset()
            return 200, {"reset": True}
        if route != ("GET", "/request_response/"):
            return 404, {"error": {"message": f"no such path: {scope['path']}"}}
        self._requests += 1
        self._peers.add(tuple(scope["client"] or ()))
        self._waiting += 1
        self._peak = max(self._peak, self._waiting)
        try:
            if self._latency_s > 0:
                await asyncio.sleep(self._latency_s)
        finally:
            self._waiting -= 1
        return 200, {"message": str(uuid4())}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        status, value = await self._answer(scope)
        body = json.dumps(value, separators=(",", ":")).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def main() -> None:
    settings = Settings(NAME)
    latency_s = settings.integer("ONEHOP_LATENCY_MS", 0, 0, 600_000) / 1000
    port = settings.integer("API_PORT", 8000, 0, 65535)
    sock = listen(NAME, os.environ.get("API_HOST") or "127.0.0.1", port)
    config = Config()
    config.bind = [f"fd://{sock.fileno()}"]
    config.graceful_timeout = 0.5
    # By default it ends each connection behind 1,000 requests, and httpx fails what is under way.
    config.keep_alive_max_requests = 2**31
    config.accesslog = None
    config.loglevel = "WARNING"
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    announce_ready(sock)
    await serve(Upstream(latency_s), config, shutdown_trigger=stop.wait)


if __name__ == "__main__":
    uvloop.run(main())
