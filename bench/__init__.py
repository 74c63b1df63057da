"""The benchmark: the bridge and its peers on real brokers (`make bench`), and each stage alone (`make bench-micro`)."""
