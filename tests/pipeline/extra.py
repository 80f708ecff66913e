"""What a description cannot say."""

c["title"] += ", and more"  # noqa: F821  # the master gives it
