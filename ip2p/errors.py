"""The one error that people see."""


class EditError(ValueError):
    """A sentence for the person who asked: what is wrong with the request and what to do."""
