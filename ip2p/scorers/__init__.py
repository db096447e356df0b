"""What evaluation and the training of the autoencoder measure pictures and texts with."""
