"""The instants at which the bytes of a recorded response are due, and the timer that wakes the player then.

Enter at `pace.Pace` (recorded times become a schedule) and `scheduler.Clock` (the schedule becomes wake-ups). Must
not import the cassette or anything above it.
"""
