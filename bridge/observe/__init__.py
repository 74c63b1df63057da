"""How the bridge can be observed: its logs."""
