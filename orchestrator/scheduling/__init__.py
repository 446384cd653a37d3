"""Ray Tune: spreads a plan's trials over the machine or the cluster."""
