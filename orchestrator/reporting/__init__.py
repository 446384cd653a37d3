"""Output for people: live tables, the comparison of variants, and figures, tables and a page for each trial."""
