"""Published benchmarks by name, each with the split, measures and rules of its publication."""
