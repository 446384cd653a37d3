"""From an experiment file to a plan: strict reading, overrides, and every trial fully specified."""
