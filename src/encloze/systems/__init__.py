"""Systems: whatever ranks documents for queries and can be judged, one kind a file."""
