"""Models a run can use: synthetic, built in, and folders or Hub ids of the user's own."""
