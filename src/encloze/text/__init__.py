"""Text to numbers, with numpy only."""
