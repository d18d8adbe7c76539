"""Plans as tables: lists of flat rows for data frames, reports and files."""
