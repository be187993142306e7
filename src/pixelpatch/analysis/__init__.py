"""From records to tidy tables, verdicts and comparisons: DataFrames in, DataFrames out, no file written here."""
