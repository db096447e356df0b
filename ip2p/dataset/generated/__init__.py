"""Instructions to picture pairs: a text-to-image model draws both captions so that only the edit differs."""
