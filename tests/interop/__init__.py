"""Which brokers the bridge works with: real ones of many kinds, each tried in the same way."""
