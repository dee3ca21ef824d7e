"""Positions in Redis, or Valkey: for servers on several machines that play one tape.

A tape is one hash: a field says of a key how many of its recordings have been taken, and a field more every turn that
was taken before it was due. All that is done to it is a script, so it is done whole or not at all, in one round trip.
The hash is named by the run and by the digest of the tape, with all that decides its keys.

What the store has lost (it was started again without a disk, or has thrown away what it had no room for) must not be
taken for a tape from its beginning. So the hash holds a token, which everybody knows who has begun to play; another one
is believed only where it says that somebody has rewound the tape.

Nothing is asked twice: whoever does not hear the answer does not know whether the turn is taken.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit, urlunsplit
from weakref import WeakKeyDictionary

from openai_replay.cassette.cassette import Cassette
from openai_replay.cassette.positions import Positions
from openai_replay.errors import StartError, StateError, UsageError

#: Seconds after the last request until the store forgets a tape: a week.
_KEPT_S = 7 * 24 * 3600
#: Seconds after which a store that says nothing is gone.
_PATIENCE_S = 5.0
_CONNECTIONS = 32
_REWOUND = "rewound:"

_BEGIN = """
redis.call('HSETNX', KEYS[1], 'token', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return redis.call('HGET', KEYS[1], 'token')
"""
_KNOWN = """
local token = redis.call('HGET', KEYS[1], 'token') or ''
if token ~= ARGV[2] then return {-2, token} end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""
_TAKE = (
    _KNOWN
    + """
local turn = tonumber(redis.call('HGET', KEYS[1], ARGV[3]) or '0')
while redis.call('HEXISTS', KEYS[1], ARGV[3] .. ':' .. turn) == 1 do turn = turn + 1 end
local limit = tonumber(ARGV[4])
if limit >= 0 and turn >= limit then return {-1, token} end
redis.call('HSET', KEYS[1], ARGV[3], turn + 1)
return {turn, token}
"""
)
_TAKE_INSTEAD = (
    _KNOWN
    + """
if tonumber(redis.call('HGET', KEYS[1], ARGV[3]) or '0') > tonumber(ARGV[4]) then return {0, token} end
return {redis.call('HSETNX', KEYS[1], ARGV[3] .. ':' .. ARGV[4], '1'), token}
"""
)
_LOOK = _KNOWN + "return {0, token, redis.call('HGETALL', KEYS[1])}"
_REWIND = """
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return ARGV[2]
"""


class Store:
    """The store at `url`, `redis://HOST:PORT/DB?run=NAME`; keeps the positions of every tape while it is entered.

    Raises UsageError, and StartError where it cannot be reached at the start.
    """

    def __init__(self, url: str) -> None:
        hint = "Write redis://HOST:PORT/DB?run=NAME, or rediss:// for TLS."
        try:
            parts = urlsplit(url)
            port = parts.port or 6379
            query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            raise UsageError("--state is no URL", hint) from None  # it may hold a password: not shown
        if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.fragment:
            raise UsageError("--state is no URL of a Redis", hint)
        if not re.fullmatch(r"/?|/\d+", parts.path):
            raise UsageError("--state: what follows the port is the number of a database", hint)
        self.run = query.pop("run", "default")
        if query or not re.fullmatch(r"[\w.-]{1,100}", self.run):
            raise UsageError("--state takes run=NAME, of letters, digits, dots, dashes and underscores", hint)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.name = f"{parts.scheme}://{host}:{port}{parts.path}"
        self._url = urlunsplit(parts._replace(query=""))
        self._redis: Any = None
        self._digests: WeakKeyDictionary[Cassette, str] = WeakKeyDictionary()

    async def __aenter__(self) -> None:
        """Reach it. Raises StartError."""
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            hint = "pip install 'openai-replay[redis]'"
            raise StartError("--state needs a client for Redis, which is not installed", hint) from None
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=_CONNECTIONS,
            timeout=_PATIENCE_S,
            socket_timeout=_PATIENCE_S,
            socket_connect_timeout=_PATIENCE_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        try:
            await self.asked(self._redis.ping)
        except StateError as error:
            await self._redis.aclose()
            raise StartError(f"--state: {error.message}", "Is it there, and is the URL right?") from None

    async def __aexit__(self, *error: object) -> None:
        """Let go of its connections."""
        await self._redis.aclose()

    def know(self, tape: Cassette) -> None:
        """See Keeper."""
        if tape not in self._digests:
            whole = hashlib.sha256()
            for path in tape.files:  # whatever their names are
                with path.open("rb") as file:
                    whole.update(hashlib.file_digest(file, "sha256").digest())
            self._digests[tape] = whole.hexdigest()

    def at(self, name: str, tape: Cassette, told: str) -> Positions:
        """The positions on `tape`, that of session `name`."""
        self.know(tape)
        whole = repr((name, told, self._digests[tape]))
        digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return StoredPositions(self, f"openai-replay:{self.run}:{digest}")

    def script(self, text: str) -> Callable[..., Awaitable[Any]]:
        """A script that runs there."""
        script = self._redis.register_script(text)

        async def run(*, keys: list[str], args: list[Any]) -> Any:
            return await self.asked(lambda: script(keys=keys, args=args))

        return run

    async def asked(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What `ask` gives. Raises StateError."""
        from redis.exceptions import AuthenticationError, AuthorizationError, RedisError
        from redis.exceptions import ConnectionError as Unreachable
        from redis.exceptions import TimeoutError as RedisTimeout

        try:
            return await ask()
        except (AuthenticationError, AuthorizationError):
            why = "does not let us in"
        except (RedisTimeout, TimeoutError):
            why = "does not answer"
        except (Unreachable, OSError):
            why = "cannot be reached"
        except RedisError as error:  # its text may quote what was sent
            why = f"refuses to work ({str(error).partition(' ')[0][:40] or type(error).__name__})"
        hint = "Nothing is played while nobody knows which recording is next; it goes on when the store is back."
        raise StateError(f"The store of the positions, {self.name}, {why}.", hint)


class StoredPositions:
    """The positions that `store` keeps at `place`."""

    def __init__(self, store: Store, place: str) -> None:
        self._place = place
        self._token = ""  # until it has begun
        self._seen: dict[str, str] = {}
        self._store = store
        self._begin, self._rewind = store.script(_BEGIN), store.script(_REWIND)
        self._take, self._take_instead = store.script(_TAKE), store.script(_TAKE_INSTEAD)
        self._look = store.script(_LOOK)

    async def _ask(self, script: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """What `script` answers. Raises StateError."""
        if not self._token:
            token = secrets.token_hex(8)
            self._token = _text(await self._begin(keys=[self._place], args=[_KEPT_S, token]))
        for _ in range(2):
            answer = await script(keys=[self._place], args=[_KEPT_S, self._token, *args])
            if answer[0] != -2:
                return answer
            token = _text(answer[1])
            if not token.startswith(_REWOUND):
                break
            self._token = token
        raise StateError(
            f"The store of the positions, {self._store.name}, has lost those of this run.",
            "Rewind the tape, POST /@/rewind, or start anew with another ?run=NAME. A store that keeps what it has on "
            "a disk, and evicts nothing (maxmemory-policy noeviction), loses nothing.",
            "state_lost",
        )

    async def take(self, key: bytes, limit: int | None) -> int | None:
        """See Positions."""
        turn = (await self._ask(self._take, key.hex(), -1 if limit is None else limit))[0]
        return None if turn < 0 else cast(int, turn)

    async def take_instead(self, key: bytes, turn: int) -> bool:
        """See Positions."""
        return bool((await self._ask(self._take_instead, key.hex(), turn))[0])

    async def rewind(self) -> None:
        """See Positions."""
        token = _REWOUND + secrets.token_hex(8)
        self._token = _text(await self._rewind(keys=[self._place], args=[_KEPT_S, token]))

    async def look(self) -> None:
        """See Positions."""
        pairs = [_text(one) for one in (await self._ask(self._look))[2]]
        self._seen = dict(zip(pairs[::2], pairs[1::2], strict=True))

    def is_played(self, key: bytes, turn: int) -> bool:
        """See Positions. As of the last `look`."""
        name = key.hex()
        return turn < int(self._seen.get(name, 0)) or f"{name}:{turn}" in self._seen


def _text(found: Any) -> str:
    return found.decode() if isinstance(found, bytes) else str(found)
