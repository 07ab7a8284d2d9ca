"""Light apart from what it falls on: parts of the sky, and one lamp after another on a scene that stands still."""
