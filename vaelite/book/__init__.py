"""What only pages need: figures, explorable figures, and what every chapter shows."""
