"""What the API process says about itself over a measured window; the same JSON as the Node server."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from typing import Any

# asyncio wakes in Python code: a finer grain would cost a noticeable share of the CPU it measures.
RESOLUTION_S = 0.01


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class MeasureProbe:
    """Samples how much later than asked a sleep ends: the delay of the event loop."""

    def __init__(self) -> None:
        self._window = 0
        self._delays_ms: list[float] = []
        self._running = asyncio.Event()
        self._running.set()
        self._user_s = 0.0
        self._system_s = 0.0
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._sample())

    async def _sample(self) -> None:
        while True:
            await self._running.wait()
            window = self._window
            begun = time.perf_counter()
            await asyncio.sleep(RESOLUTION_S)
            if window != self._window:
                continue  # the sleep began before the window did
            delay_s = time.perf_counter() - begun - RESOLUTION_S
            self._delays_ms.append(max(0.0, delay_s * 1000))

    def reset(self) -> None:
        self._window += 1
        self._delays_ms.clear()
        self._user_s = self._system_s = 0.0
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._running.set()

    def pause(self) -> None:
        """Stops the window: what follows is not counted, and nothing wakes the process."""
        if self._running.is_set():
            self._take()
            self._window += 1
            self._running.clear()

    def resume(self) -> None:
        if not self._running.is_set():
            self._usage = resource.getrusage(resource.RUSAGE_SELF)
            self._running.set()

    def _take(self) -> None:
        now = resource.getrusage(resource.RUSAGE_SELF)
        self._user_s += now.ru_utime - self._usage.ru_utime
        self._system_s += now.ru_stime - self._usage.ru_stime
        self._usage = now

    def read(self) -> dict[str, Any]:
        if self._running.is_set():
            self._take()
        ordered = sorted(self._delays_ms)
        return {
            "cpuUserUs": round(self._user_s * 1e6),
            "cpuSystemUs": round(self._system_s * 1e6),
            "loopDelayP50Ms": _quantile(ordered, 0.5) if ordered else None,
            "loopDelayP99Ms": _quantile(ordered, 0.99) if ordered else None,
            "loopDelayMaxMs": ordered[-1] if ordered else None,
            "loopUtilisation": None,
            "rssPeakBytes": self._usage.ru_maxrss * 1024,
            "pid": os.getpid(),
        }

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
