"""The one training loop, and the plan, schedule and state it goes by."""
