"""samplers: who draws the neighbours; each a PyG BaseSampler with a pure `sample(seeds, key)`."""
