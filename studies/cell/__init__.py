"""One cell: what it is, how it runs, and what is kept of it. Everything in here can change a result."""
