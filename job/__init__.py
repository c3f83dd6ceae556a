"""The training job: what torchrun starts."""
