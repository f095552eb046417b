"""Does partition help? A study of task metrics that anyone can repeat: `python -m studies --help`."""
