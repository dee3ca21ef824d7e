"""Positions in Redis or Valkey: for servers on several machines that play one cassette.

A cassette is one hash. A field per key counts the claimed recordings, and a further field stands for each recording
that was claimed before its turn. Every change is a script, so it is atomic and takes one round trip. The name of the
hash is made of the run and of a digest of the cassette and the matching rules.

A store can lose data: it restarts without a disk, or evicts the hash. A player must not take that for a cassette at its
beginning. So the hash holds a token that each player remembers from its first request. A player accepts another token
only if it says that the cassette was rewound.

No request to the store is repeated: without an answer a player cannot know whether the claim was made.
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

#: Seconds after the last request until the store forgets a cassette: a week.
_EXPIRE_S = 7 * 24 * 3600
#: Seconds until a silent store counts as unreachable.
_TIMEOUT_S = 5.0
_CONNECTIONS = 32
_REWOUND = "rewound:"

_BEGIN = """
redis.call('HSETNX', KEYS[1], 'token', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return redis.call('HGET', KEYS[1], 'token')
"""
_CHECK_TOKEN = """
local token = redis.call('HGET', KEYS[1], 'token') or ''
if token ~= ARGV[2] then return {-2, token} end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""
_CLAIM = (
    _CHECK_TOKEN
    + """
local index = tonumber(redis.call('HGET', KEYS[1], ARGV[3]) or '0')
while redis.call('HEXISTS', KEYS[1], ARGV[3] .. ':' .. index) == 1 do index = index + 1 end
local stop = tonumber(ARGV[4])
if stop >= 0 and index >= stop then return {-1, token} end
redis.call('HSET', KEYS[1], ARGV[3], index + 1)
return {index, token}
"""
)
_CLAIM_OUT_OF_ORDER = (
    _CHECK_TOKEN
    + """
if tonumber(redis.call('HGET', KEYS[1], ARGV[3]) or '0') > tonumber(ARGV[4]) then return {0, token} end
return {redis.call('HSETNX', KEYS[1], ARGV[3] .. ':' .. ARGV[4], '1'), token}
"""
)
_REFRESH = _CHECK_TOKEN + "return {0, token, redis.call('HGETALL', KEYS[1])}"
_REWIND = """
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return ARGV[2]
"""


class RedisPositionStore:
    """The store at `url`, `redis://HOST:PORT/DB?run=NAME`: keeps the positions of every cassette while it is entered.

    Raises UsageError for the URL, and StartError if the store cannot be reached at the start.
    """

    def __init__(self, url: str) -> None:
        hint = "Write redis://HOST:PORT/DB?run=NAME, or rediss:// for TLS."
        try:
            parts = urlsplit(url)
            port = parts.port or 6379
            query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            raise UsageError("The value of --state is not a URL.", hint) from None  # it may hold a password: not shown
        if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.fragment:
            raise UsageError("The value of --state is not the URL of a Redis.", hint)
        if not re.fullmatch(r"/?|/\d+", parts.path):
            raise UsageError("The path in the URL of --state is not the number of a database.", hint)
        self.run = query.pop("run", "default")
        if query or not re.fullmatch(r"[\w.-]{1,100}", self.run):
            raise UsageError("The query in the URL of --state is not run=NAME (letters, digits, '.', '-', '_').", hint)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.name = f"{parts.scheme}://{host}:{port}{parts.path}"
        self._url = urlunsplit(parts._replace(query=""))
        self._redis: Any = None
        self._digests: WeakKeyDictionary[Cassette, str] = WeakKeyDictionary()

    async def __aenter__(self) -> None:
        """Connect to the store. Raises StartError."""
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            hint = "Run pip install 'openai-replay[redis]'."
            raise StartError("--state needs the redis package, which is not installed.", hint) from None
        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=_CONNECTIONS,
            timeout=_TIMEOUT_S,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        try:
            await self.request(self._redis.ping)
        except StateError as error:
            await self._redis.aclose()
            raise StartError(
                error.message, "Check that Redis is running and that the URL of --state is correct."
            ) from None

    async def __aexit__(self, *error: object) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def prepare(self, cassette: Cassette) -> None:
        """Compute the digest of the files of `cassette`, whatever their names."""
        if cassette not in self._digests:
            digest = hashlib.sha256()
            for path in cassette.files:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            self._digests[cassette] = digest.hexdigest()

    def positions_for(self, name: str, cassette: Cassette, rules: str) -> Positions:
        """Return the positions on `cassette`, which session `name` plays by `rules`."""
        self.prepare(cassette)
        identity = repr((name, rules, self._digests[cassette]))
        digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return RedisPositions(self, f"openai-replay:{self.run}:{digest}")

    def script(self, text: str) -> Callable[..., Awaitable[Any]]:
        """Return a function that runs the Lua script `text` in the store."""
        script = self._redis.register_script(text)

        async def run(*, keys: list[str], args: list[Any]) -> Any:
            return await self.request(lambda: script(keys=keys, args=args))

        return run

    async def request(self, send: Callable[[], Awaitable[Any]]) -> Any:
        """Return the result of `send`. Raises StateError."""
        from redis.exceptions import AuthenticationError, AuthorizationError, RedisError
        from redis.exceptions import ConnectionError as Unreachable
        from redis.exceptions import TimeoutError as RedisTimeout

        try:
            return await send()
        except (AuthenticationError, AuthorizationError):
            reason = "refuses the password"
        except (RedisTimeout, TimeoutError):
            reason = "does not answer"
        except (Unreachable, OSError):
            reason = "cannot be reached"
        except RedisError as error:  # its text may quote what was sent
            reason = f"reports an error ({str(error).partition(' ')[0][:40] or type(error).__name__})"
        hint = "Nothing is played without the positions. Playing goes on when the store is back."
        raise StateError(f"The position store {self.name} {reason}.", hint)


class RedisPositions:
    """The positions that `store` keeps in the hash `name`."""

    def __init__(self, store: RedisPositionStore, name: str) -> None:
        self._name = name
        self._token = ""  # until the first request
        self._claimed: dict[str, str] = {}  # at the last refresh
        self._store = store
        self._begin, self._rewind = store.script(_BEGIN), store.script(_REWIND)
        self._claim, self._claim_out_of_order = store.script(_CLAIM), store.script(_CLAIM_OUT_OF_ORDER)
        self._refresh = store.script(_REFRESH)

    async def _run(self, script: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Return the reply of `script`. Raises StateError."""
        if not self._token:
            token = secrets.token_hex(8)
            self._token = _text(await self._begin(keys=[self._name], args=[_EXPIRE_S, token]))
        for _ in range(2):
            reply = await script(keys=[self._name], args=[_EXPIRE_S, self._token, *args])
            if reply[0] != -2:
                return reply
            token = _text(reply[1])
            if not token.startswith(_REWOUND):
                break
            self._token = token
        raise StateError(
            f"The position store {self._store.name} has lost the positions of this run.",
            "Rewind the cassette with POST /@/rewind, or start again with another ?run=NAME. A store with a disk that "
            "evicts nothing (maxmemory-policy noeviction) loses nothing.",
            "state_lost",
        )

    async def claim(self, key: bytes, end: int | None) -> int | None:
        """Claim the next recording of `key`."""
        index = (await self._run(self._claim, key.hex(), -1 if end is None else end))[0]
        return None if index < 0 else cast(int, index)

    async def claim_out_of_order(self, key: bytes, index: int) -> bool:
        """Claim the recording `index` of `key` before its turn."""
        return bool((await self._run(self._claim_out_of_order, key.hex(), index))[0])

    async def rewind(self) -> None:
        """Forget all claims."""
        token = _REWOUND + secrets.token_hex(8)
        self._token = _text(await self._rewind(keys=[self._name], args=[_EXPIRE_S, token]))

    async def refresh(self) -> None:
        """Read the claims of all players."""
        pairs = [_text(value) for value in (await self._run(self._refresh))[2]]
        self._claimed = dict(zip(pairs[::2], pairs[1::2], strict=True))

    def is_played(self, key: bytes, index: int) -> bool:
        """Return True if the recording `index` of `key` had been claimed at the last `refresh`."""
        name = key.hex()
        return index < int(self._claimed.get(name, 0)) or f"{name}:{index}" in self._claimed


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
