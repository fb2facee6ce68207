"""Where examples come from, and how a step number becomes a batch. Needs no jax."""
