"""What a scene shows: plan, subjects, layout, place, light and words."""
