"""Training runs: the loop's callback, what it writes, and how a run is resumed, repeated and watched."""
