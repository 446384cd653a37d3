"""MLflow: the sink that records trials, and reading launches back. The only package that imports MLflow."""
