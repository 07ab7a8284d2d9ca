"""Single files of weights from elsewhere."""
