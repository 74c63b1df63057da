"""One process, or several: start, supervise, stop."""
