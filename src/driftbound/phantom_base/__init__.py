"""The small base student that ships with the package, and the script that makes it."""
