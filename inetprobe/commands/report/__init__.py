"""A recording as one page for people: what is kept of it, what that says in words and charts, and the page itself."""
