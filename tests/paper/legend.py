"""What a drawn legend says, for tests that compare figures by what they show."""


def labels(ax):
    """Return the legend's texts, in order."""
    return [text.get_text() for text in ax.get_legend().get_texts()]
