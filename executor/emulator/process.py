"""The life of an emulated engine process: start-up as slow as asked for, serving, and the end on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
import sys
import time

from executor.emulator.api import Api
from executor.emulator.connection import Connection
from executor.emulator.engine import RealTimeEngine
from executor.emulator.launch import EmulatedEngine, LaunchError, cache_config, measured, mps_threads, node_folder, prepare
from executor.emulator.metrics import Metrics
from executor.emulator.options import ENGINE_VERSION, ServeOptions
from executor.emulator.residence import OutOfMemoryError, Residence, visible_devices
from executor.emulator.sleep import Sleeper
from planner.simulation.core import EngineCore

# Connections that wait to be accepted; uvicorn's default.
_BACKLOG = 2048
# How long the last answers may take to leave the process; they wait in the socket buffers of this machine.
_FLUSH_S = 1.0


def log(message: str) -> None:
    """A line of vLLM's log, for people and for the parsers of start-up logs."""
    sys.stderr.write(f"(EngineCore pid={os.getpid()}) INFO {time.strftime('%m-%d %H:%M:%S')} {message}\n")
    sys.stderr.flush()


def start_scale() -> float:
    """ULLAGE_EMULATED_START_SCALE: what start-up and wake times are multiplied with."""
    text = os.environ.get("ULLAGE_EMULATED_START_SCALE", "1.0")
    try:
        scale = float(text)
    except ValueError:
        scale = -1.0
    if not 0 <= scale < float("inf"):
        raise LaunchError(f"ULLAGE_EMULATED_START_SCALE is {text!r}; it must be a number of at least 0, such as 0.01")
    return scale


def serve(options: ServeOptions) -> int:
    """Run until a signal; returns the exit code."""
    try:
        # Bound before the engine starts, as vLLM does, so that a taken port is found out first.
        listener = _bind(options.host, options.port)
    except OSError as error:
        sys.stderr.write(f"OSError: [Errno {error.errno}] {error.strerror}: {options.host}:{options.port}\n")
        return 1
    try:
        scale = start_scale()
        devices = visible_devices(node_folder(), os.environ.get("CUDA_VISIBLE_DEVICES"), options.tensor_parallel_size)
        residence = Residence(devices, options.served_names[0], own_threads=mps_threads() is not None)
        launch = prepare(options, residence, measured())
    except (LaunchError, ValueError, OSError) as error:
        return _failed(str(error))
    try:
        return asyncio.run(_run(options, launch, residence, listener, scale))
    except OutOfMemoryError as error:
        return _failed(f"torch.OutOfMemoryError: {error}")
    finally:
        residence.release()


def _failed(cause: str) -> int:
    sys.stderr.write(f"(EngineCore pid={os.getpid()}) ERROR ValueError: {cause}\n")
    sys.stderr.write("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n")
    return 1


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


async def _run(options: ServeOptions, launch: EmulatedEngine, residence: Residence, listener: socket.socket, scale: float) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if not await _start(launch, residence, scale, stop):
        return 0
    metrics = Metrics(options.served_names[0], launch.settings.max_model_len, cache_config(options, launch), time.time())
    # The name is mixed in, or neighbours would be slow in the same steps.
    seed = f"{os.environ.get('ULLAGE_EMULATED_SEED', options.seed)} {options.served_names[0]} {options.port}"
    draw = random.Random(seed).random  # noqa: S311 - noise, not secrets
    engine = RealTimeEngine(EngineCore(launch.core), launch.step_time, residence, metrics, draw)
    sleeper = Sleeper(engine, residence, launch, metrics, frees=options.enable_sleep_mode, scale=scale)
    api = Api(options, launch, engine, sleeper, metrics)
    connections: set[Connection] = set()
    server = await loop.create_server(lambda: Connection(api, connections), sock=listener, backlog=_BACKLOG)
    host, port = listener.getsockname()[:2]
    log(f"Starting vLLM API server {ENGINE_VERSION} (emulated) on http://{host}:{port}")
    # What is alive now stays: collections need not look at it again.
    gc.freeze()
    log("Application startup complete.")
    await stop.wait()
    server.close()
    await _drain(options, engine, api, connections)
    return 0


async def _start(launch: EmulatedEngine, residence: Residence, scale: float, stop: asyncio.Event) -> bool:
    """Load weights, then take the KV pool, taking as long as a real start times the scale; False when stopped meanwhile."""
    ledger = launch.ledger
    residence.claim(ledger.context_mib + ledger.weights_mib)
    log(f"Model loading took {ledger.weights_mib / 1024:.2f} GiB")
    try:
        await asyncio.wait_for(stop.wait(), launch.start_s * scale)
    except TimeoutError:
        pass
    else:
        return False
    residence.claim(ledger.total_mib)
    log(f"GPU KV cache size: {launch.kv_tokens:,} tokens")
    length = launch.settings.max_model_len
    log(f"Maximum concurrency for {length:,} tokens per request: {launch.kv_tokens / length:.2f}x")
    return True


async def _drain(options: ServeOptions, engine: RealTimeEngine, api: Api, connections: set[Connection]) -> None:
    """--shutdown-timeout: let requests in flight finish for so long, then break the rest (0: at once)."""
    api.draining = True
    for connection in list(connections):
        connection.close_when_idle()
    log(f"Shutting down: {engine.in_flight} requests in flight, shutdown timeout {options.shutdown_timeout_s} s")
    if options.shutdown_timeout_s and engine.in_flight:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(engine.pause(wait=True), options.shutdown_timeout_s)
    for connection in list(connections):
        if connection.busy:
            connection.drop()
    # What is answered may still lie in buffers; a client that does not read is not waited for.
    end_s = asyncio.get_running_loop().time() + _FLUSH_S
    while connections and asyncio.get_running_loop().time() < end_s:
        await asyncio.sleep(0.01)
