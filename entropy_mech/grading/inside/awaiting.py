"""Coroutines across the socket: awaited here, run in an event loop of the process they are of.

Many may wait at the same time, as ``gather`` and ``wait_for`` need: one side starts a coroutine
with a function to call when it is done, and waits for that in its own loop.
"""

from __future__ import annotations

import threading

import proxies

_state = {"loop": None, "tasks": {}, "waiting": {}}
_lock = threading.Lock()


def _own_loop():
    """A loop that runs: the one in which this side awaits the other, or one in a thread."""
    import asyncio

    with _lock:
        loop = _state["loop"]
        if loop is None or not loop.is_running():
            loop = _state["loop"] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, daemon=True).start()
        return loop


def finish(awaitable):
    """Run an awaitable of this process to its end, for one who waits for nothing else."""
    import asyncio

    async def main():
        return await awaitable

    return asyncio.run_coroutine_threadsafe(main(), _own_loop()).result()


def start(awaitable, done) -> None:
    """Run an awaitable of this process, and call ``done`` with its value or its exception."""
    import asyncio

    async def main():
        try:
            value, error = await awaitable, None
        except BaseException as raised:
            value, error = None, raised
        done(value, error)

    _state["tasks"][id(awaitable)] = asyncio.run_coroutine_threadsafe(main(), _own_loop())


def cancel(awaitable) -> None:
    _state["tasks"].pop(id(awaitable)).cancel()


def wait_for(proxy):
    """The generator that awaits a proxy."""
    import asyncio

    loop = asyncio._get_running_loop()
    if loop is None:
        return proxies.PEER.request("finish", proxy)
    with _lock:
        _state["loop"] = loop
    future = loop.create_future()

    def settle(value, error):
        if future.done():
            return
        if isinstance(error, asyncio.CancelledError):
            future.cancel()
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    def done(value, error):
        loop.call_soon_threadsafe(settle, value, error)

    proxies.PEER.request("start", proxy, done)
    try:
        return (yield from future)
    except (asyncio.CancelledError, GeneratorExit):
        if not future.done() or future.cancelled():
            proxies.PEER.request("cancel", proxy)
        raise


def _waiting(proxy):
    return _state["waiting"].setdefault(id(proxy), wait_for(proxy))


# How an event loop drives a coroutine, which it takes a proxy for.
proxies.AWAITING.update(
    __await__=wait_for,
    send=lambda proxy, value: _waiting(proxy).send(value),
    throw=lambda proxy, *error: _waiting(proxy).throw(*error),
)
