"""Multi-task learning on one graph: a single-process library; rank and world size are numbers."""
