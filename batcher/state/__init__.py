"""What is known of every task, in one SQLite file that anybody can read and one process writes."""
