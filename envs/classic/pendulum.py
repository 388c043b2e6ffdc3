"""What Pendulum-v1 does not tell its policy."""


def power(env):
    """Square of the torque of the step before; 0 at the start of an episode."""
    return 0.0 if env.unwrapped.last_u is None else float(env.unwrapped.last_u) ** 2
