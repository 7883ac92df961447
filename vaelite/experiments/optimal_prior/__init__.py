"""The optimal prior's experiments: two tasks of digits, both ways, and three of faces."""
