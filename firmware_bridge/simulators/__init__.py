"""The world's side of every bus: devices made from the same profiles, that keep a record of their own and can misbehave."""
