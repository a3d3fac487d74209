"""The overlay as a target: what it takes, where tensors stand, and the words that are made of a region."""
