"""What the bridge is compared with, one small program per file: `python -m bench.peers.NAME SOURCE_URL SINK_URL`.

Each does the same work, the rule of `bench.load`, with the settings that were the best for it.
"""
