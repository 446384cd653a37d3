"""Launches without training: curves are replayed in simulated time; who is stopped and what comes next is real."""
