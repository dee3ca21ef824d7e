"""The writer of cassette items, in a layout for review: keys in reading order, JSON indented, text as text.

No YAML library can write this layout, so this module writes the text itself. `reader` and vcrpy read it.
"""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections.abc import Iterable, Iterator

from openai_replay.cassette.schema import EditedBody
from openai_replay.model import End, Frame, Headers, Interaction, Request, media_type
from openai_replay.openai_api import transcript
from openai_replay.text import escape, json_codec

HEADER = "version: 1\ninteractions:\n"
#: The first line of a cassette that was not recorded with the default matching begins with this.
_MATCHING = "# openai-replay matching: "


def header(described: str) -> str:
    """Return the start of a new cassette. `described` is the description of its matching, empty for the default."""
    return with_matching_comment(HEADER, described)


def matching_comment(text: str) -> str:
    """Return the description of the matching in the first line of a cassette; empty if there is none."""
    if not text.startswith(_MATCHING):
        return ""
    return text.partition("\n")[0].removeprefix(_MATCHING).strip()


def with_matching_comment(text: str, described: str) -> str:
    """Return `text`, the start of a cassette, with this description in its first line, or without one."""
    remaining = text.partition("\n")[2] if text.startswith(_MATCHING) else text
    return f"{_MATCHING}{described}\n{remaining}" if described else remaining


def write_interaction(interaction: Interaction, number: int, preview: str | None = None) -> Iterator[str]:
    """Yield the text of one item with the comment above it, in pieces: a body of hundreds of megabytes is not copied
    into one more string. `preview` is that of the response, if it is known.
    """
    response = interaction.response
    yield f"{_comment(interaction, number, transcript.preview(response) if preview is None else preview)}\n"
    yield from write_vcrpy_interaction(interaction)
    yield f"    wire:\n      head: {response.head_ms}\n"
    if response.assumed:
        yield f"      assumed: {_scalar(response.assumed)}\n"
    if response.head.length is not None:
        yield f"      length: {response.head.length}\n"
    yield f"      frames: {_frames(response.frames, '        ')}\n      end: {response.end_ms} {response.end}\n"


def write_vcrpy_interaction(interaction: Interaction) -> Iterator[str]:
    """Yield the text of one item as plain vcrpy: without a comment, times and frames."""
    request, response = interaction.request, interaction.response
    yield "- request:\n"
    yield f"    method: {_scalar(request.method)}\n    uri: {_scalar(request.uri, flow=False)}\n"
    yield _headers(request.headers, "    ")
    yield "    body: "
    yield from _text(_reviewable(request), "      ")
    head = response.head
    yield f"  response:\n    status: {{code: {head.status}, message: {_scalar(head.reason)}}}\n"
    yield _headers(head.headers, "    ")
    yield "    body:\n      string: "
    yield from _text(response.body, "        ")


def _comment(interaction: Interaction, number: int, preview: str) -> str:
    """Return `# 1  POST /v1/chat/completions  gpt-4o-mini  stream  200  380 ms  "Héllo 🌍!"`, for reviewers. Loaders
    ignore it.
    """
    request, response = interaction.request, interaction.response
    parts = [f"# {number}", f"{request.method} {request.path}"]
    try:
        parameters = json_codec.loads(request.body)
    except ValueError:
        parameters = None
    if isinstance(parameters, dict) and isinstance(parameters.get("model"), str):
        parts.append(parameters["model"])
    if media_type(response.head.headers) == "text/event-stream":
        parts.append("stream")
    parts += [str(response.head.status), f"{response.end_ms} ms"]
    if response.end is not End.COMPLETE:
        parts.append(response.end)
    if preview:
        parts.append(json.dumps(preview if len(preview) <= 60 else preview[:59] + "…", ensure_ascii=False))
    return re.sub(_NOT_IN_A_LINE, "�", escape.line("  ".join(parts)))


def _headers(headers: Headers, indent: str) -> str:
    if not headers:
        return f"{indent}headers: {{}}\n"
    grouped: dict[str, tuple[str, list[str]]] = {}
    for name, value in headers:
        grouped.setdefault(name.lower(), (name, []))[1].append(value)
    lines = [
        f"{indent}  {_scalar(name)}: [{', '.join(_scalar(value) for value in values)}]\n"
        for name, values in grouped.values()
    ]
    return f"{indent}headers:\n" + "".join(lines)


def _reviewable(request: Request) -> bytes:
    """Return the body as it is stored: with indented JSON, whose tokens are unchanged. Requests are matched by value
    and never replayed.
    """
    media = media_type(request.headers)
    if request.body and (not media or "json" in media):
        try:
            json_codec.canonical(json_codec.exact(request.body))
        except ValueError:
            return request.body  # matching compares such a body by its bytes as well
        return json_codec.pretty(request.body) + b"\n"
    return request.body


# YAML 1.1 reads these words, and texts that start with a digit, as other types.
_WORD = re.compile(r"(?i:y|n|yes|no|on|off|true|false|null)")
_PLAIN = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_./;=+()?&%@~ -]|:(?=[A-Za-z0-9_/]))*(?<! )")


def _scalar(text: str, flow: bool = True) -> str:
    """Return a short text as one line of YAML: plain if that is unambiguous, else double-quoted. In `flow` (`[...]`),
    PyYAML's own scanner stops at a question mark.
    """
    if _PLAIN.fullmatch(text) and not _WORD.fullmatch(text) and not (flow and "?" in text):
        return text
    return '"' + _escaped(text) + '"'


# What a literal block can carry, and a double-quoted scalar need not escape: no CR, tab, NEL, LS, PS, BOM or control
# character. PyYAML turns U+0085 into a line feed in a block; a reader refuses what is not printable (YAML 1.1, 5.1).
_BLOCK = "\n -~\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff"
# Compiled by `re` when first used: that takes 9 ms, and only recorders need them.
_NOT_IN_A_LINE = f"[^{_BLOCK[1:]}]"
_BLOCK_TEXT = f"[{_BLOCK}]+"
_ESCAPED = f'[^{_BLOCK}]|["\\\\\n]'
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def _escaped(text: str) -> str:
    return re.sub(_ESCAPED, lambda match: _SHORT.get(match[0]) or f"\\U{ord(match[0]):08X}", text)


#: Bytes that are decoded first, because decoding a whole body allocates its memory at once.
_PROBED = 1 << 20


def _text(body: bytes, indent: str) -> Iterator[str]:
    """Yield a body as a YAML value, up to its last line feed: as a literal block, double-quoted, or as `!!binary`."""
    try:
        codecs.utf_8_decode(body[:_PROBED], "strict", False)  # other data seldom decodes that far
        text = body.decode()
    except UnicodeDecodeError:
        return _binary(body, indent)
    return _block(text, indent) if re.fullmatch(_BLOCK_TEXT, text) and text.strip("\n") else _quoted(text, indent)


def _binary(body: bytes, indent: str) -> Iterator[str]:
    yield "!!binary |\n"
    for start in range(0, len(body), 57 << 10):  # 57 bytes make a line of 76 characters
        encoded = base64.encodebytes(body[start : start + (57 << 10)]).decode()
        yield "".join(f"{indent}{line}\n" for line in encoded.splitlines())


def _block(text: str, indent: str) -> Iterator[str]:
    # A block whose first line is empty or starts with a space has to name its indentation.
    indentation = "2" if text[0] in " \n" else ""
    chomping = "-" if text[-1] != "\n" else "+" if text.endswith("\n\n") else ""
    yield f"|{indentation}{chomping}\n"
    lines = (f"{indent}{line}\n" if line else "\n" for line in text.removesuffix("\n").split("\n"))
    yield from lines if len(text) > _PROBED else ["".join(lines)]  # yielding a piece costs as much as a line


def _quoted(text: str, indent: str) -> Iterator[str]:
    """Yield a double-quoted scalar with one line per line of `text`: a CRLF stream is as readable as one with LF."""
    lines = text.split("\n")
    last = len(lines) - 1
    yield '"'
    for number, line in enumerate(lines):
        if number and line.startswith(" "):
            yield "\\"  # or YAML would drop the space
        yield _escaped(line)
        if number == last - 1 and not lines[last]:
            yield "\\n"
        elif number < last:
            yield f"\\n\\\n{indent}"
    yield '"\n'


_PER_LINE = 12


def _frames(frames: Iterable[Frame], indent: str) -> str:
    """Return the value of `frames:` as one scalar: nested lists take eight times as long to read."""
    sizes = [f"{frame.at_ms}+{len(frame.data)}" for frame in frames]
    if len(sizes) <= _PER_LINE:
        return " ".join(sizes) or '""'
    lines = [" ".join(sizes[start : start + _PER_LINE]) for start in range(0, len(sizes), _PER_LINE)]
    return f"\n{indent}".join([">-", *lines])


_FRAMES_LINE = re.compile(r"( *)frames: ?")


def recut_frames(text: str, edited: Iterable[EditedBody]) -> str:
    """Return `text` with corrected frames in each edited item. Nothing else changes."""
    for _, entry in sorted({entry.start: entry for entry in edited}.items(), reverse=True):
        line = text[text.rfind("\n", 0, entry.start) + 1 : entry.start]
        if block := _FRAMES_LINE.fullmatch(line):
            new_frames = _frames(entry.frames, block[1] + "  ")
        else:  # in a flow mapping, where there are no blocks
            new_frames = " ".join(f"{frame.at_ms}+{len(frame.data)}" for frame in entry.frames) or '""'
        space = "" if line.endswith(" ") else " "  # `frames:` had no value
        text = text[: entry.start] + space + new_frames + text[entry.stop :]
    return text
