"""What one sees of data and models: a page that needs nothing else, its charts, and colours in a terminal."""
