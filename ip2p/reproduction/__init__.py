"""The paper in miniature: a recipe of commands, what runs them and goes on with them, and the page that tells the story."""
