"""Networks that judge pictures and texts, a scorer per file: evaluation measures with them, and the autoencoder is trained with one."""
