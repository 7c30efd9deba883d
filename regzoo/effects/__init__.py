"""Effects of sequence changes on a model's predictions."""
