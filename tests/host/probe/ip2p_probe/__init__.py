"""What the tests see and do inside a running WebUI. Nothing here imports the extension under test, except to look at it."""
