"""What random play shows of an unknown environment, for the first draft of its card."""
