"""Training an edit model: autoencoder, text-to-image and edit stages, each resumable to the bit."""
