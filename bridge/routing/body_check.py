"""Checks a msgpack or CBOR body before a decoder reads it: its keys, its numbers, its tags, its nesting and its size in parts.

The decoders alone would not do. Both take lists as keys, as tuples, and everybody knows Python's hash of a tuple of
integers: 12,000 keys with the same hash, 240 KB, cost 1.4 s (observed). Text has a hash that nobody can guess, and of
integers of 64 bits at most 16 have the same one. And a list of one byte costs as much as 50 bytes of text.

The check has two steps, both mostly done by regular expressions: a call for each value would cost more than the decoder.
The first leaves one byte of each value, its first: these are the "heads". In a list of heads, places are values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

MAX_DEPTH: Final = 64
#: A body may have so many parts, and one more per so many bytes. A part is a list or a map; a tag counts as three.
FREE_PARTS: Final = 4_000
BYTES_PER_PART: Final = 8

SCALAR, TEXT, LIST, MAP, TAG, END = range(6)
#: In CBOR, the number of values in a list that only a break ends; in a map it is twice that. Other numbers are cut short.
WITHOUT_END: Final = 1 << 61
_MOST_VALUES: Final = 1 << 50
#: So many values are taken one by one rather than by an expression.
_FEW: Final = 2
_BREAK: Final = b"\xff"


class Form(NamedTuple):
    """The form of values that begin with one byte.

    `width` more bytes hold a scalar, or the number of bytes in a text (or a binary value), of values in a list or a map,
    or of a tag. If `width` is 0, a list or a map has `number` values.
    """

    kind: int
    width: int = 0
    number: int = 0


_UNKNOWN: Final = Form(END)


@dataclass(frozen=True, slots=True, eq=False)
class BodyCheck:
    """One format.

    `run` matches values as far as they need no closer look, and `heads` finds their heads in it: for lists, maps and tags
    with the bytes of their number. `forms` goes by head; it holds plain tuples, which take less time than a Form. `keys`
    are the heads of keys; `scalars` and `pairs` match heads of scalars and texts, and pairs of these with a good key.
    `explain` says why the value at a place in a body is refused.
    """

    run: re.Pattern[bytes]
    heads: re.Pattern[bytes]
    forms: dict[int, tuple[int, int, int]]
    keys: frozenset[int]
    scalars: re.Pattern[bytes]
    pairs: re.Pattern[bytes]
    explain: Callable[[bytes, int], str]

    def __call__(self, body: bytes) -> bytes:
        """Return the heads. That values are missing, or follow behind the whole, is for the decoder to say.

        Raises:
            ValueError: a key is neither text nor an integer, a number is not finite, a tag or a type is not supported,
                a value is nested too deeply, or the body has too many parts.
        """
        heads = self._heads(body)
        self._walk(heads, FREE_PARTS + len(body) // BYTES_PER_PART)
        return heads

    def _heads(self, body: bytes) -> bytes:
        found: list[bytes] = []
        at, end = 0, len(body)
        while at < end:
            stop = self.run.match(body, at).end()  # type: ignore[union-attr]  # it may be empty
            found += self.heads.findall(body, at, stop)
            if stop == end:
                break
            kind, width, _ = self.forms.get(body[stop], _UNKNOWN)
            content_at = stop + 1 + width
            if content_at > end:
                raise ValueError("the body breaks off in a value")
            if kind != TEXT:
                raise ValueError(self.explain(body, stop))
            found.append(body[stop : stop + 1])
            at = content_at + int.from_bytes(body[stop + 1 : content_at])
        return b"".join(found)

    def _walk(self, heads: bytes, max_parts: int) -> None:  # noqa: C901, PLR0912 - see above
        forms, keys, scalars, pairs = self.forms, self.keys, self.scalars.match, self.pairs.match
        at, end, parts = 0, len(heads), 0
        # Of the innermost list or map: how many values are still to come. In a map the number before a key is even.
        left, in_map = 1, False
        outer: list[tuple[int, bool]] = []
        while at < end:
            if not left:
                if not outer:
                    return
                left, in_map = outer.pop()
                continue
            head = heads[at]
            kind, width, number = forms[head]
            is_key = in_map and not left & 1
            if is_key and head not in keys:
                raise ValueError("a key is neither text nor an integer of 64 bits")
            if kind <= TEXT:
                if left <= _FEW or (in_map and not is_key):
                    stop = at + 1
                else:
                    stop = (pairs if in_map else scalars)(heads, at, at + left).end()  # type: ignore[union-attr]
                    stop += stop == at  # the value of this key is a list or a map
                left -= stop - at
                at = stop
                continue
            at += 1 + width
            parts += 1
            if parts > max_parts:
                raise ValueError(f"more than {max_parts} lists, maps and tags (which count as three)")
            if kind == TAG:
                parts += 2
                if heads[at : at + 1] == _BREAK:
                    raise ValueError("a tag without a value")
            elif kind == END:
                if left < WITHOUT_END // 2 or (in_map and not is_key):
                    raise ValueError("an end without a beginning")
                left = 0
            else:
                left -= 1
                if len(outer) >= MAX_DEPTH:
                    raise ValueError(f"nested more than {MAX_DEPTH} deep")
                if width:
                    number = min(int.from_bytes(heads[at - width : at]), _MOST_VALUES)
                if kind == MAP:
                    number *= 2
                # Most lists and maps hold scalars alone: then nothing is left.
                stop = (pairs if kind == MAP else scalars)(heads, at, at + number).end()  # type: ignore[union-attr]
                if number > stop - at:
                    outer.append((left, in_map))
                    left, in_map = number - (stop - at), kind == MAP
                at = stop
