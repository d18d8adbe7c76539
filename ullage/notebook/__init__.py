"""The notebook API: the same functions as the command line, with results that draw themselves and become data frames."""
