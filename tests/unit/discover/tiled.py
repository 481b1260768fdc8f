"""What holds for every drawn message."""


def assert_tiled(sample):
    """Say that its fields follow one another, none is empty, and nothing is left over."""
    place = 0
    for field in sample.fields:
        assert field.offset == place
        assert field.length > 0
        place += field.length
    assert place == len(sample.payload)
