"""Access: which requests the server answers.

A page in a browser can reach any port of this machine, in two ways. It can fetch `http://127.0.0.1:PORT`: then the
browser sends its origin in `Origin`, or, for a resource that the page only loads (an image, a link), `Sec-Fetch-Site`.
Or its own name resolves to 127.0.0.1 (DNS rebinding): then the browser takes this server for the page's own, and only
`Host` shows the difference. An address cannot be rebound, so only names are checked. The control API is for this
machine only, by peer address and by `Host`.

A client of a server with `--client-key-env` sends the key of that variable, which the API does not know. So the
upstream's own key replaces it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from http import HTTPStatus

from openai_replay.errors import ControlError
from openai_replay.model import Headers, header
from openai_replay.server.http import cors, hosts
from openai_replay.server.http.errors import refusal

#: The headers in which clients of OpenAI, Azure and Anthropic send their key.
_KEY_HEADERS = frozenset({"authorization", "api-key", "x-api-key"})
_CORS_HINT = "Start with --cors, or with --cors-origin for a page from another machine."


@dataclass(frozen=True, slots=True)
class Access:
    """Rules of access: `hosts` are additional names that clients may use for this server (`*`: any name).

    `origins` are additional origins whose pages may ask and read, beside pages of this machine (None: no page may).
    `key` is the key that clients have to send, and `upstream_key` the one that the upstream gets instead (empty: none).
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] | None = None
    key: str = ""
    upstream_key: str = ""

    def readable_origin(self, headers: Headers) -> str:
        """Return the origin of the page that asks if it may read the response, else an empty text."""
        origin = header(headers, "origin")
        return origin if self.origins is not None and cors.is_allowed(origin, self.origins) else ""

    def check(self, headers: Headers) -> None:
        """Refuse a request that a page of another origin or of a rebound name sends. Raises RequestRefusedError."""
        name = hosts.host_name(header(headers, "host", "localhost"))  # HTTP/1.0 has none; browsers always send one
        if not (hosts.is_loopback(name) or hosts.is_address(name) or self._is_known_host(name)):
            raise refusal(
                HTTPStatus.FORBIDDEN,
                "forbidden",
                f"Unexpected Host header {header(headers, 'host')!r}. Rejected to protect against DNS rebinding.",
                f"Start with --allow-host {name or 'NAME'} if clients use this name.",
            )
        origin = header(headers, "origin")
        if origin and not cors.is_allowed(origin, self.origins or ()):
            message = f"Pages of {origin!r} may not use this server."
            raise refusal(HTTPStatus.FORBIDDEN, "forbidden", message, _CORS_HINT)
        if not origin and header(headers, "sec-fetch-site", "none").lower() not in self._allowed_sites:
            raise refusal(
                HTTPStatus.FORBIDDEN,
                "forbidden",
                "A page of another origin made the browser load this URL.",
                f"Let the page fetch it in mode cors. {_CORS_HINT}",
            )

    def check_key(self, headers: Headers) -> None:
        """Refuse a request without the required key. Raises RequestRefusedError."""
        if not self.key:
            return
        if not any(self._is_key(name, value) for name, value in headers):
            has_key = any(name.lower() in _KEY_HEADERS for name, _ in headers)
            raise refusal(
                HTTPStatus.UNAUTHORIZED,
                "invalid_api_key",
                f"This server needs a key (--client-key-env). The request has {'another' if has_key else 'no'} key.",
                "Give it to the client as its API key (OPENAI_API_KEY).",
            )

    def check_control(self, peer: str, headers: Headers) -> None:
        """Refuse a control request from another machine. Raises ControlError."""
        name = hosts.host_name(header(headers, "host", "localhost"))
        if not (hosts.is_loopback(peer) and hosts.is_loopback(name)):
            raise ControlError(
                "The control API answers only this machine.", "Ask http://127.0.0.1:PORT/@/.", HTTPStatus.FORBIDDEN
            )
        if header(headers, "origin") and not self.readable_origin(headers):
            # Browsers send simple requests to any address, without a preflight.
            raise ControlError("Pages may not use the control API.", _CORS_HINT, HTTPStatus.FORBIDDEN)

    def with_upstream_key(self, headers: Headers) -> Headers:
        """Return `headers` with the upstream's key instead of the client's."""
        if not self.upstream_key:
            return headers
        return tuple(
            (name, value.replace(self.key, self.upstream_key)) if self._is_key(name, value) else (name, value)
            for name, value in headers
        )

    def _is_key(self, name: str, value: str) -> bool:
        sent = _credential(name, value).encode("latin-1")
        return name.lower() in _KEY_HEADERS and hmac.compare_digest(sent, self.key.encode())

    @property
    def _allowed_sites(self) -> tuple[str, ...]:
        """The values of Sec-Fetch-Site that may come without `Origin`: the user, and with --cors this machine's pages.

        The source is https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header; another port is the same site.
        """
        return ("none", "same-origin") if self.origins is None else ("none", "same-origin", "same-site")

    def _is_known_host(self, name: str) -> bool:
        return bool(name) and (name in hosts.CONTAINER_HOSTS or "*" in self.hosts or name in self.hosts)


def _credential(name: str, value: str) -> str:
    """Return `KEY` of `Authorization: Bearer KEY` or `api-key: KEY`."""
    scheme, _, credential = value.strip().partition(" ")
    return credential.strip() if name.lower() == "authorization" and scheme.lower() == "bearer" else value.strip()
