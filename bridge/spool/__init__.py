"""The spool: keeps on disk, in order and bounded, the events that no broker holds while the sink is unavailable."""

from bridge.spool.directory import SpoolDirectory
from bridge.spool.spool import Spool, SpooledBatch, SpoolFull

__all__ = ["Spool", "SpoolDirectory", "SpoolFull", "SpooledBatch"]
