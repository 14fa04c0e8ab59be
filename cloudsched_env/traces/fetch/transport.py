"""One HTTP request: who may be asked, what the answer means, and how every way to fail is named."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import ipaddress
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from cloudsched_env.traces.errors import require

__all__ = ["Client", "Fault", "TransportConfig", "check_address"]

_WORTH_ASKING_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_RETRY_AFTER_S = 300.0


@dataclass(frozen=True)
class TransportConfig:
    """Limits of a request.

    Attributes:
        connect_timeout_s: to open a connection.
        read_timeout_s: longest silence of a server.
        slow_bytes_per_s: a transfer slower than this over `slow_window_s` is given up and tried again.
        slow_window_s: see `slow_bytes_per_s`.
        max_redirects: of one request.
        user_agent: who asks.
    """

    connect_timeout_s: float = 15.0
    read_timeout_s: float = 30.0
    slow_bytes_per_s: float = 1024.0
    slow_window_s: float = 60.0
    max_redirects: int = 5
    user_agent: str = "cloudsched-env (traces fetch)"


class Fault(Exception):  # noqa: N818 - an outcome of one request; the errors for users are in errors.py
    """A request, or the transfer of its answer, failed.

    Attributes:
        kind: ``unreachable`` (no server was reached), ``temporary`` (asking again may help), ``permanent`` (this
            address will not do), ``corrupt`` (the bytes are not those that were published).
        retry_after_s: how long the server asks to wait.
    """

    def __init__(
        self,
        kind: Literal["unreachable", "temporary", "permanent", "corrupt"],
        reason: str,
        retry_after_s: float | None = None,
    ) -> None:
        self.kind = kind
        self.reason = reason
        self.retry_after_s = retry_after_s
        super().__init__(reason)


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def check_address(url: str, origin: str | None = None) -> None:
    """Refuse addresses that nobody should be sent to.

    Args:
        url: https; plain http only on this machine (loopback).
        origin: the address that led here by a redirect. Only an address on this machine may lead to one.

    Raises:
        Fault: permanent; the address is refused.
    """
    parts = urlsplit(url)
    local = _is_loopback(parts.hostname)
    came = f"redirect from {origin} to {url}" if origin else url
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise Fault("permanent", f"{came}: expected an https address")
    if local and origin is not None and not _is_loopback(urlsplit(origin).hostname):
        raise Fault("permanent", f"{came}: a redirect to this machine is refused")
    if parts.scheme == "http" and not local:
        raise Fault("permanent", f"{came}: plain http is refused, expected https")


class Client:
    """HTTP requests from several threads, which `abort` can end at once.

    Proxies are those of the environment (``HTTPS_PROXY``, ``NO_PROXY``). No credentials are ever sent: ``.netrc`` is
    not read.

    Raises:
        ModuleNotFoundError: requests is not installed.
    """

    def __init__(self, config: TransportConfig) -> None:
        self.config = config
        self._requests = require("requests")
        self._sessions = threading.local()
        self._active: set[Any] = set()
        self._aborted = False
        self._lock = threading.Lock()

    def _session(self) -> Any:
        # Sessions are not promised to be safe across threads; each thread keeps its own, for its open connections.
        session = getattr(self._sessions, "session", None)
        if session is None:
            session = self._requests.Session()
            session.headers["User-Agent"] = self.config.user_agent
            session.auth = lambda request: request  # anything else makes requests look into .netrc
            self._sessions.session = session
        return session

    @contextlib.contextmanager
    def get(self, url: str, headers: dict[str, str]) -> Iterator[Any]:
        """The answer to a GET, after redirects, with its body not yet read.

        Raises:
            Fault: there is no answer with status 200, 206 or 416.
        """
        response = self._follow(url, headers)
        try:
            with self._lock:
                if self._aborted:
                    raise Fault("temporary", "stopped")
                self._active.add(response)
            status = response.status_code
            if status not in (200, 206, 416):
                kind: Literal["temporary", "permanent"] = "temporary" if status in _WORTH_ASKING_AGAIN else "permanent"
                wait = _retry_after_s(response.headers.get("Retry-After"))
                raise Fault(kind, f"HTTP {status} {response.reason or ''}".rstrip(), wait)
            yield response
        finally:
            with self._lock:
                self._active.discard(response)
            response.close()

    def _follow(self, url: str, headers: dict[str, str]) -> Any:
        check_address(url)
        for _ in range(self.config.max_redirects + 1):
            with self.named_faults():
                response = self._session().get(
                    url,
                    headers=headers,
                    stream=True,
                    allow_redirects=False,
                    timeout=(self.config.connect_timeout_s, self.config.read_timeout_s),
                )
            if not response.is_redirect:
                return response
            target = urljoin(url, response.headers["Location"])
            response.close()
            check_address(target, url)
            url = target
        raise Fault("permanent", f"more than {self.config.max_redirects} redirects")

    @contextlib.contextmanager
    def named_faults(self) -> Iterator[None]:
        """Turns what requests and urllib3 raise into a `Fault`."""
        errors = self._requests.exceptions
        urllib3 = require("urllib3").exceptions
        try:
            yield
        except errors.SSLError as error:
            raise Fault("permanent", f"the certificate was not accepted ({_innermost(error)})") from error
        except (errors.ConnectTimeout, errors.ProxyError) as error:
            raise Fault("unreachable", f"no connection ({_innermost(error)})") from error
        except (errors.ReadTimeout, urllib3.ReadTimeoutError, TimeoutError) as error:
            raise Fault("temporary", f"the server was silent for {self.config.read_timeout_s:g} s") from error
        except errors.ConnectionError as error:
            cause = getattr(error.args[0] if error.args else None, "reason", None)
            if isinstance(cause, urllib3.NewConnectionError):  # refused, no route, or no such name
                raise Fault("unreachable", f"no connection ({_innermost(error)})") from error
            raise Fault("temporary", f"the connection broke ({_innermost(error)})") from error
        except (errors.RequestException, urllib3.HTTPError, ConnectionError) as error:
            raise Fault("temporary", f"the connection broke ({_innermost(error)})") from error

    def abort(self) -> None:
        """End every transfer that is under way; the threads that read them get a `Fault` or the end of the data."""
        with self._lock:
            self._aborted = True
            for response in self._active:
                # Refused for a transfer that ended in this moment.
                with contextlib.suppress(ValueError, RuntimeError, OSError):
                    response.raw.shutdown()


def _innermost(error: BaseException) -> str:
    """The message at the bottom of a chain of wrapped exceptions, which is the one that says what happened."""
    seen = [error]
    while True:
        wrapped = [part for part in (*seen[-1].args, getattr(seen[-1], "reason", None)) if isinstance(part, Exception)]
        if isinstance(seen[-1], http.client.IncompleteRead):
            return "cut by the server or on the way"
        if not wrapped or wrapped[0] in seen:
            text = str(seen[-1]).strip() or type(seen[-1]).__name__
            return text.rpartition("object at 0x")[2].partition(">: ")[2] or text
        seen.append(wrapped[0])


def _retry_after_s(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date."""
    if not value:
        return None
    if value.strip().isdigit():
        wait = float(value)
    else:
        try:
            wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return min(max(wait, 0.0), _LONGEST_RETRY_AFTER_S)
