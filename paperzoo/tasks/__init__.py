"""What several papers share as a task."""
