"""The life of an audit after it was saved, without its model: two of them compared, one checked for changes, signed."""
