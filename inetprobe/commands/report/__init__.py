"""``inetprobe report``: gathers what a page needs from recordings, sums it up in words and charts, and renders it."""
