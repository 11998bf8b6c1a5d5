"""How one remote API is spoken to."""
