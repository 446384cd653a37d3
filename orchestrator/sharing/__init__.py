"""Several trials on one GPU: NVIDIA's MPS, throughput side by side, and how many to run. Needs only torch."""
