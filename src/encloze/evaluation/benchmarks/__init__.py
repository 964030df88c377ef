"""Published benchmarks by name, each with the rules by which its figures are told."""
