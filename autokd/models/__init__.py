"""Networks: a zoo of small image classifiers, a person's own, their features and their weights."""
