"""Opens sockets: the one way in which every client of the bridge connects."""
