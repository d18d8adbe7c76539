"""Questions to a Prometheus server over HTTP; the token comes from a variable of the environment and is written nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import aiohttp

from profiles.sources.prometheus_range import PrometheusError, RangeAnswer, range_answer

# A question over weeks of many replicas; the server itself gives up after two minutes by default.
LIMIT_S = 130.0


class AskRange(Protocol):
    """Whoever answers questions over a range of times."""

    async def ask(self, question: str, first: datetime, last: datetime, step_s: int) -> RangeAnswer:
        """Values at first, and every step until last."""
        ...


@dataclass(slots=True)
class PrometheusServer:
    """A server, for use as a context; url is its address as users write it."""

    url: str
    headers: Mapping[str, str]
    _session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open connections are kept between questions."""
        self._session = aiohttp.ClientSession(headers=dict(self.headers), timeout=aiohttp.ClientTimeout(total=LIMIT_S))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes them."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, question: str, first: datetime, last: datetime, step_s: int) -> RangeAnswer:
        """Values at first, and every step until last. PrometheusError says what is wrong with the server, or what it says."""
        assert self._session is not None
        asked = {"query": question, "start": str(int(first.timestamp())), "end": str(int(last.timestamp())), "step": str(step_s)}
        try:
            async with self._session.get(f"{self.url}/api/v1/query_range", params=asked) as answer:
                raw, status = await answer.read(), answer.status
        except TimeoutError as error:
            raise PrometheusError(
                f"{self.url}: no answer within {LIMIT_S:g} s; ask for less: a shorter --lookback or a longer --step"
            ) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise PrometheusError(f"{self.url}: cannot be asked: {str(error) or type(error).__name__}") from error
        if status in {401, 403}:
            wants = "refuses the token" if self.headers else "wants a token; name its variable with --token-env"
            raise PrometheusError(f"{self.url}: HTTP {status}: the server {wants}")
        return range_answer(raw, status, self.url)


def server_at(url: str, token_env: str | None, environment: Mapping[str, str]) -> PrometheusServer:
    """The server at an address, with the token that stands in a variable; ValueError names the option that is wrong."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and parts.hostname and not (parts.query or parts.fragment) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"--prometheus {url[:200]!r}: write an address such as http://127.0.0.1:9090, without /api/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("--prometheus: an address with a user or password in it ends up in logs; give a token by --token-env")
    return PrometheusServer(url.rstrip("/"), {} if token_env is None else {"Authorization": f"Bearer {_token(token_env, environment)}"})


def _token(name: str, environment: Mapping[str, str]) -> str:
    token = environment.get(name, "")
    if not token:
        raise ValueError(f"--token-env {name}: this variable is not set, or empty")
    if not token.isascii() or not token.isprintable() or token != token.strip():
        raise ValueError(f"--token-env {name}: its value has spaces around it, or characters that an HTTP header does not carry")
    return token
