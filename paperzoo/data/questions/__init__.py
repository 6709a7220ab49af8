"""Questions about images, objects and stories, and balls to watch."""
