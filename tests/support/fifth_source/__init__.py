"""A fifth source, as a developer would add one: its settings and its Source; `copy.py` adds it to a copy of the bridge."""
