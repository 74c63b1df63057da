"""The bounds of one message: a source keeps only the beginning of one that is larger, and skips the rest as it comes."""

from __future__ import annotations

from typing import Final

#: So much larger than `max_body` a message may be and is still received whole. It is room for the topic (64 KiB at most),
#: headers and properties of every event that can be routed, and for the bodies of dead letters that are a little too large.
ROOM_BYTES: Final = 1 << 20
