"""Models a run can use: synthetic ones made here, and folders or Hub ids of the user's own."""
