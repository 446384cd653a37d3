"""One network learns from one dataset: a visible loop, optimisers, schedules, checkpoints. Torch only."""
