"""A file per family of brokers; each names its classes in `BROKERS`, in the order in which they are tried."""
