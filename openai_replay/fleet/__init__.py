"""One tape played by several processes, on one machine or more, and from elsewhere than the disk."""
