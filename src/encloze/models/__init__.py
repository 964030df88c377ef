"""What is trained: encoders with heads, and the layers they are made of."""
