"""What a person writes: YAML with its line numbers, and the words of a search space."""
