"""Which network is really better? An experiment file becomes trials, folders, MLflow runs and a verdict."""

__version__ = "0.1.0"
