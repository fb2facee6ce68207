"""What a model learns: init, loss phases, evaluate, predict. One file a task."""
