"""The spool: what a broker will not hold while the sink is away, on the disk, in order, and bounded."""

from bridge.spool.directory import SpoolDirectory
from bridge.spool.spool import Kept, Spool, SpoolFull

__all__ = ["Kept", "Spool", "SpoolDirectory", "SpoolFull"]
