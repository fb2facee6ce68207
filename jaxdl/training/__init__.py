"""State, step, loop, checkpoint: the code that every recipe is trained by."""
