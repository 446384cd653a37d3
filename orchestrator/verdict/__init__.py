"""Which variant is better, by how much, and whether the evidence is enough: statistics, with numpy and scipy only."""
