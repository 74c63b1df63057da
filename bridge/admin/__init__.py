"""The admin server: health, metrics and status of a running bridge, and the orders to it.

Nothing here is imported before a bridge has an `admin` section: aiohttp and prometheus-client take 20 MB.
"""
