"""Who may talk to the server.

A page in a browser can reach any port of this machine, in two ways. It asks `http://127.0.0.1:PORT` from where it is:
then the browser says so in `Origin`, or, of what the page only loads (an image, a link), in `Sec-Fetch-Site`. Or its
own name is made to lead to 127.0.0.1 (DNS rebinding): then the browser takes us for the page's own server, and only
`Host` tells. An address cannot be made to lead elsewhere, so only names are checked. The control API is for this
machine alone: by peer and by `Host`.

Whoever is let in by `--client-key-env` has that key, which the API does not know: the API's own goes on in its place.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from http import HTTPStatus

from openai_replay.errors import ControlError, RequestRefusedError
from openai_replay.model import Headers, header
from openai_replay.server.http import cors, hosts

#: Where clients put their key: OpenAI's, Azure's and Anthropic's way.
_KEY_HEADERS = frozenset({"authorization", "api-key", "x-api-key"})
_CORS_HINT = "Start with --cors, and with --cors-origin for a page that is not of this machine."


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask: `hosts` are names a client may know this server by, beside those of this machine (`*`: any).

    `origins`: whose pages may ask and read, beside those of this machine; None: no page may. `key`: what clients have
    to send, and `upstream_key` what the upstream gets instead; empty: as it comes.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] | None = None
    key: str = ""
    upstream_key: str = ""

    def page(self, headers: Headers) -> str:
        """The origin of the page that asks, where it may read the answer; else empty."""
        origin = header(headers, "origin")
        return origin if self.origins is not None and cors.allows(origin, self.origins) else ""

    def check(self, headers: Headers) -> None:
        """Raise Refused for a request that a page smuggles in, by its origin or by a name that leads here."""
        name = hosts.named(header(headers, "host", "localhost"))  # HTTP/1.0 knows none, and browsers always send one
        if not (hosts.is_loopback(name) or hosts.is_address(name) or self._is_ours(name)):
            raise RequestRefusedError(
                f"Host {header(headers, 'host')!r} is not a name of this server: a page could have sent this.",
                f"Start with --allow-host {name or 'NAME'} if that is what clients call it.",
                HTTPStatus.FORBIDDEN,
            )
        origin = header(headers, "origin")
        if origin and not cors.allows(origin, self.origins or ()):
            raise RequestRefusedError(f"Pages of {origin!r} may not ask.", _CORS_HINT, HTTPStatus.FORBIDDEN)
        if not origin and header(headers, "sec-fetch-site", "none").lower() not in self._sites:
            raise RequestRefusedError(
                "A page of another origin had the browser load this without asking.",
                f"A page may fetch it in mode cors. {_CORS_HINT}",
                HTTPStatus.FORBIDDEN,
            )

    def check_key(self, headers: Headers) -> None:
        """Raise Refused for a request without the key, if one is required."""
        if not self.key:
            return
        if not any(self._is_key(name, value) for name, value in headers):
            sent = any(name.lower() in _KEY_HEADERS for name, _ in headers)
            raise RequestRefusedError(
                "This server wants a key (--client-key-env), and " + ("another one was sent." if sent else "none was."),
                "Give it to the client as its API key (OPENAI_API_KEY).",
                HTTPStatus.UNAUTHORIZED,
                "invalid_api_key",
            )

    def check_control(self, peer: str, headers: Headers) -> None:
        """Raise ControlError for a control request that is not of this machine."""
        name = hosts.named(header(headers, "host", "localhost"))
        if not (hosts.is_loopback(peer) and hosts.is_loopback(name)):
            raise ControlError(
                "The control API answers this machine only.", "Ask http://127.0.0.1:PORT/@/", HTTPStatus.FORBIDDEN
            )
        if header(headers, "origin") and not self.page(headers):
            # Browsers send simple requests to any address, without asking first.
            raise ControlError("The control API is not for pages.", _CORS_HINT, HTTPStatus.FORBIDDEN)

    def forwarded(self, headers: Headers) -> Headers:
        """`headers` with the upstream's key in the place of ours."""
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
    def _sites(self) -> tuple[str, ...]:
        """Where what a browser sends without `Origin` may come from: its user, and pages of this machine with --cors.

        (https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header; another port is the same site.)
        """
        return ("none", "same-origin") if self.origins is None else ("none", "same-origin", "same-site")

    def _is_ours(self, name: str) -> bool:
        return bool(name) and (name in hosts.CONTAINER_HOSTS or "*" in self.hosts or name in self.hosts)


def _credential(name: str, value: str) -> str:
    """`KEY` in `Authorization: Bearer KEY` or `api-key: KEY`."""
    scheme, _, rest = value.strip().partition(" ")
    return rest.strip() if name.lower() == "authorization" and scheme.lower() == "bearer" else value.strip()
