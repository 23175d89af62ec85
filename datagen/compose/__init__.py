"""What a scene shows: plan, subjects, layout, environment, captions and prompt."""
