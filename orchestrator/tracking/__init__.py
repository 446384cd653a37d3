"""MLflow: the sink that records trials, and reading launches back. The only room that imports MLflow."""
