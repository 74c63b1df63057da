"""The tests: real brokers, real Dramatiq workers, and the bridge as a process of its own."""
