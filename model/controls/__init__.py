"""What the model is given for each subject: a region, the control image, the identity sheet."""
