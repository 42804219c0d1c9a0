"""The study's API server in Python: FastAPI under uvicorn with uvloop, one worker.

`python server.py` with REQUEST_URL, API_HOST, API_PORT and the lab's ONEHOP_ variables, as the
Node server; `python server.py --contestants` prints what could take part as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import sys
from typing import Any, AsyncIterator, Iterator, Literal
from uuid import uuid4

import uvicorn
import uvloop
from fastapi import FastAPI, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from contestants import (
    CONTESTANTS,
    Options,
    UpstreamBodyError,
    describe_contestants,
    describe_failure,
)
from measure import MeasureProbe
from program import Settings, announce_ready, die, exit_with_parent, listen

NAME = "python api"


class MessageResponse(BaseModel):
    message: str


class SendResponse(BaseModel):
    status: Literal[1]
    message: str


class UpstreamError(BaseModel):
    upstream: str
    client: str
    phase: Literal["connect", "exchange", "timeout", "status", "body"]
    message: str


class UpstreamErrorResponse(BaseModel):
    error: UpstreamError


class Clients:
    """The contestants of this process: opened when first used, shared or built for each request."""

    def __init__(self, options: Options, reuse: str) -> None:
        self._options = options
        self._per_request = reuse == "per-request"
        self._shared: dict[str, Any] = {}

    async def get_json(self, name: str, path: str) -> Any:
        if self._per_request:
            client = CONTESTANTS[name].open(self._options)
            try:
                return await client.get_json(path)
            finally:
                await client.close()
        client = self._shared.get(name)
        if client is None:
            client = self._shared[name] = CONTESTANTS[name].open(self._options)
        return await client.get_json(path)

    async def close(self) -> None:
        for client in self._shared.values():
            await client.close()


def read_clients() -> list[str]:
    text = os.environ.get("ONEHOP_CLIENTS", "").strip()
    if text == "":
        return list(CONTESTANTS)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CONTESTANTS:
            known = ", ".join(CONTESTANTS)
            die(NAME, f'ONEHOP_CLIENTS names "{name}", which is unknown; known here: {known}')
    return names


def build_app(options: Options, reuse: str, names: list[str], measure: bool) -> FastAPI:
    clients = Clients(options, reuse)
    probe = MeasureProbe()

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if measure:
            probe.start()
        yield
        probe.close()
        await clients.close()

    app = FastAPI(title="onehop study API (Python)", version="1.0.0", lifespan=lifespan)
    upstream = f"{options.base_url}request_response/"

    @app.get("/request_response/")
    async def request_response() -> MessageResponse:
        return MessageResponse(message=str(uuid4()))

    @app.get(
        "/send_request/{client}/",
        response_model=SendResponse,
        responses={502: {"model": UpstreamErrorResponse}},
    )
    async def send_request(client: str = Path(description=f"One of: {', '.join(names)}")) -> Any:
        if client not in names:
            message = f'unknown client "{client}"; known: {", ".join(names)}'
            return JSONResponse({"error": {"message": message, "known": names}}, 404)
        try:
            answer = await clients.get_json(client, "request_response/")
            try:
                message = MessageResponse.model_validate(answer, strict=True).message
            except ValidationError:
                raise UpstreamBodyError('the body is not {"message": "<text>"}') from None
            return SendResponse(status=1, message=message)
        except Exception as error:  # whatever a client raises is a failed upstream
            failure = {"upstream": upstream, "client": client, **describe_failure(error)}
            return JSONResponse({"error": failure}, 502)

    if measure:

        @app.get("/_onehop/measure/", include_in_schema=False)
        async def read_measure() -> dict[str, Any]:
            return probe.read()

        @app.post("/_onehop/measure/reset/", include_in_schema=False)
        async def reset_measure() -> dict[str, bool]:
            probe.reset()
            return {"reset": True}

        @app.post("/_onehop/measure/pause/", include_in_schema=False)
        async def pause_measure() -> dict[str, bool]:
            probe.pause()
            return {"pause": True}

        @app.post("/_onehop/measure/resume/", include_in_schema=False)
        async def resume_measure() -> dict[str, bool]:
            probe.resume()
            return {"resume": True}

    return app


class Server(uvicorn.Server):
    """Stops on SIGTERM and SIGINT with exit code 0; uvicorn itself would die of the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def serve() -> None:
    settings = Settings(NAME)
    options = Options(
        base_url=settings.request_url(),
        connections_max=settings.integer("ONEHOP_CONNECTIONS_MAX", 100, 1, 100_000),
        timeout_s=settings.integer("ONEHOP_TIMEOUT_MS", 30_000, 1, 3_600_000) / 1000,
    )
    reuse = settings.choice("ONEHOP_REUSE", ("shared", "per-request"))
    measure = settings.choice("ONEHOP_MEASURE", ("0", "1")) == "1"
    app = build_app(options, reuse, read_clients(), measure)
    port = settings.integer("API_PORT", 8000, 0, 65535)
    sock = listen(NAME, os.environ.get("API_HOST") or "127.0.0.1", port)
    config = uvicorn.Config(
        app,
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        lifespan="on",
    )
    server = Server(config)
    running = asyncio.ensure_future(server.serve(sockets=[sock]))
    while not server.started and not running.done():
        await asyncio.sleep(0.005)
    if server.started:
        exit_with_parent()
        announce_ready(sock)
    await running


if __name__ == "__main__":
    if sys.argv[1:] == ["--contestants"]:
        facts = {"python": platform.python_version(), "contestants": describe_contestants()}
        print(json.dumps(facts))
    else:
        uvloop.run(serve())
