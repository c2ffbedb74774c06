"""What a comparison shows: tables, verdicts in words, pictures, one page."""
