"""One network learns from one data set: a visible loop, optimisers, schedules, checkpoints. Torch only."""
