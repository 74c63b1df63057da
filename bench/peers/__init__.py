"""The bridge's peers, one small program per file: `python -m bench.peers.NAME SOURCE_URL SINK_URL`.

Each applies the rule of `bench.load`, with the settings that made it fastest.
"""
