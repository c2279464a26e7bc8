"""What a student costs at inference."""
