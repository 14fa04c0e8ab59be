"""The three roles: for each, what it observes, what it may do, and its local reward, in one file."""
