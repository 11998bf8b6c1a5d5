"""What a provider posts when a generation moves: hints, never facts. Each wakes one look with the key, no more."""
