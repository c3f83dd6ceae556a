"""What the dataset card is made of: edges, labels, leaks and warnings."""
