"""The Python contestants: one HTTP client each behind the same two calls, `get_json` and `close`.

Fairness: equal connection limits, keep-alive, no redirects, no retries, no proxies of the
environment, the body read to its end, JSON parsed, every failure raised.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Callable

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport


class UpstreamStatusError(Exception):
    """The upstream answered, but not with 2xx."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the upstream answered with status {status}")


class UpstreamBodyError(Exception):
    """The upstream answered 2xx, but its body is not what was agreed."""


def check_status(status: int) -> None:
    if not 200 <= status <= 299:
        raise UpstreamStatusError(status)


@dataclass(frozen=True)
class Options:
    base_url: str
    connections_max: int
    timeout_s: float


class HttpxForwarder:
    """httpx.AsyncClient, on its own transport or on another."""

    def __init__(self, options: Options, **more: Any) -> None:
        limits = httpx.Limits(
            max_connections=options.connections_max,
            max_keepalive_connections=options.connections_max,
        )
        # The TLS context is left to be built as by default: that is what a client per request costs.
        self._client = httpx.AsyncClient(
            limits=limits, timeout=options.timeout_s, trust_env=False, **more
        )
        self._base_url = options.base_url

    async def get_json(self, path: str) -> Any:
        response = await self._client.get(self._base_url + path)
        check_status(response.status_code)
        return response.json()

    async def close(self) -> None:
        await self._client.aclose()


def open_session(options: Options) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=options.connections_max),
        timeout=aiohttp.ClientTimeout(total=options.timeout_s),
    )
    # aiohttp sends a GET once more when a reused connection breaks, and has no option for it.
    session._retry_connection = False
    return session


class AiohttpForwarder:
    """aiohttp.ClientSession."""

    def __init__(self, options: Options) -> None:
        self._session = open_session(options)
        self._base_url = options.base_url

    async def get_json(self, path: str) -> Any:
        url = self._base_url + path
        async with self._session.get(url, allow_redirects=False) as response:
            check_status(response.status)
            return await response.json()

    async def close(self) -> None:
        await self._session.close()


def open_httpx(options: Options) -> HttpxForwarder:
    return HttpxForwarder(options)


def open_httpx_http2(options: Options) -> HttpxForwarder:
    return HttpxForwarder(options, http1=False, http2=True)


def open_httpx_aiohttp(options: Options) -> HttpxForwarder:
    transport = AiohttpTransport(client=lambda: open_session(options))
    return HttpxForwarder(options, transport=transport)


@dataclass(frozen=True)
class Contestant:
    name: str
    package: str
    protocol: str
    note: str
    open: Callable[[Options], Any]


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant(
            "httpx",
            "httpx",
            "http/1.1",
            "AsyncClient.get and response.json(); Limits(max_connections), trust_env=False",
            open_httpx,
        ),
        Contestant(
            "httpx-http2",
            "httpx",
            "h2c",
            "AsyncClient(http1=False, http2=True): HTTP/2 with prior knowledge",
            open_httpx_http2,
        ),
        Contestant(
            "aiohttp",
            "aiohttp",
            "http/1.1",
            "ClientSession.get and response.json(); TCPConnector(limit), its hidden retry turned off",
            AiohttpForwarder,
        ),
        Contestant(
            "httpx-aiohttp",
            "httpx-aiohttp",
            "http/1.1",
            "httpx.AsyncClient on AiohttpTransport, with the session of aiohttp",
            open_httpx_aiohttp,
        ),
    )
}


def describe_failure(error: BaseException) -> dict[str, str]:
    """Where the exchange failed (connect, exchange, timeout, status, body) and in which words."""
    if isinstance(error, UpstreamStatusError):
        phase = "status"
    elif isinstance(error, (UpstreamBodyError, json.JSONDecodeError, aiohttp.ContentTypeError)):
        phase = "body"
    elif isinstance(error, (TimeoutError, httpx.TimeoutException)):
        phase = "timeout"
    elif isinstance(error, (httpx.ConnectError, aiohttp.ClientConnectorError)):
        phase = "connect"
    else:
        phase = "exchange"
    return {"phase": phase, "message": str(error) or type(error).__name__}


def describe_contestants() -> list[dict[str, str]]:
    """What the lab records about each contestant, with the version of its installed package."""
    return [
        {
            "name": each.name,
            "package": each.package,
            "version": metadata.version(each.package),
            "protocol": each.protocol,
            "note": each.note,
        }
        for each in CONTESTANTS.values()
    ]
