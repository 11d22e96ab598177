"""From numbers to the page: tables, plots and files of numbers."""
