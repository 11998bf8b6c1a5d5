"""Decisions: values in, a value out. `now` and `rng` are arguments; nothing here waits, reads or sends."""
