"""Four flows: a whole conversation, a stream taken up again, a batch, a relay to browsers."""
