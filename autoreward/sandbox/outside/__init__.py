"""The trusted side of the sandbox: starts reward workers and asks them."""
