"""What random play tells about an unknown environment, for the first draft of its card."""
