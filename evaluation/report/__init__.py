"""The report of an evaluation: tables in the terminal, an HTML page, Markdown, figures and CSV files."""
