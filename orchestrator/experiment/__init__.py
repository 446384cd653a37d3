"""From an experiment file to a plan: strict reading, overrides, and every trial spelled out."""
