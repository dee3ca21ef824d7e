"""What is said and done where no recording matches."""
