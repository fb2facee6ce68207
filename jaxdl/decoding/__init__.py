"""From a network's raw outputs to what a person asked for: boxes here, and sequences and samples later."""
