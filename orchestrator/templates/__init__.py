"""The files that ``orchestrator init`` writes: an experiment and a network to begin with."""
