"""One file an algorithm: its configuration, its source, and where in the code the details are that matter."""
