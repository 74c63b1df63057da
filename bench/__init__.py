"""The benchmark: the bridge against its peers, on real brokers (`make bench`), and its stages alone (`make bench-micro`)."""
