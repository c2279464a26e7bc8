"""How a view of an image is made: chance is drawn (draw.py), then applied to a whole batch (apply.py, views.py)."""
