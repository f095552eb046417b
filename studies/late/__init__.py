"""What is lost when trained copies are partitioned, against other ways to the same size."""
