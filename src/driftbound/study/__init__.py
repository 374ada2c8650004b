"""The study: arms side by side on the same cases and budget, and the page that reports them."""
