"""What an evaluation shows: a table in the terminal and one HTML page."""
